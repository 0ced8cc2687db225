#include "net/http_server.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/escape.h"

namespace gigafetch::net {
namespace {

constexpr int kBacklog = 4096;
// A client with this much on its way to it is not read from until it has caught up.
constexpr size_t kMaxUnsent = 1024 * 1024;

}  // namespace

class HttpServer::Connection final : private Stream::Handler, private http::RequestParser::Handler {
 public:
  explicit Connection(HttpServer& server)
      : server_(server), stream_(server.loop_, *this), parser_(*this) {}

  Result<void> accept(uv_tcp_t& listener) { return stream_.accept_tcp(listener); }

 private:
  // Replies that leave together.
  struct Delayed {
    TimePoint due;
    std::string bytes;
    AfterReply after;
  };

  void on_bytes(std::string_view bytes) override {
    if (after_ != AfterReply::keep) return;  // whatever follows the last request served is ignored
    reply(parser_.feed(bytes));
    go_on();
  }

  bool on_request(const http::Request& request) override {
    if (after_ != AfterReply::keep) return true;
    after_ = server_.handler_.on_request(request, replies_);
    if (after_ == AfterReply::keep && !request.keep_alive) after_ = AfterReply::close;
    return after_ != AfterReply::keep || !full();
  }

  bool full() const { return stream_.backlog() + delayed_bytes_ + replies_.size() > kMaxUnsent; }

  // Sends the replies to what was fed, or has them wait for the lag.
  void reply(bool understood) {
    if (!understood && after_ == AfterReply::keep) {
      replies_ += "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      after_ = AfterReply::close;
    }
    if (server_.lag_ == Millis(0)) {
      send(replies_, after_);
      replies_.clear();
      if (replies_.capacity() > kMaxUnsent) replies_.shrink_to_fit();
      return;
    }
    delayed_bytes_ += replies_.size();
    delayed_.push_back({server_.loop_.now() + server_.lag_, std::move(replies_), after_});
    replies_ = {};
    if (delayed_.size() == 1) start_timer();
  }

  void send(std::string_view bytes, AfterReply after) {
    if (!bytes.empty()) stream_.write(bytes);
    if (after == AfterReply::reset) {
      stream_.close_reset();
      return server_.remove(this);
    }
    if (after == AfterReply::close) {
      // Closing with requests unread would reset the connection and could destroy replies on their
      // way: end our side, and read until the client has seen it (RFC 9112 section 9.6).
      closing_ = true;
      if (paused_) stream_.resume();
      paused_ = false;
      if (stream_.backlog() == 0) stream_.shutdown();
    }
  }

  // Takes the requests that were held back and reads on, as far as the client keeps up.
  void go_on() {
    while (after_ == AfterReply::keep && parser_.holding() && !full())
      reply(parser_.resume());
    if (closing_ || full() == paused_) return;
    paused_ = !paused_;
    if (paused_) {
      stream_.pause();
    } else {
      stream_.resume();
    }
  }

  void on_drained() override {
    if (closing_) return stream_.shutdown();
    go_on();
  }

  void on_ended(int) override { server_.remove(this); }

  void start_timer() {
    if (!timer_) timer_ = std::make_unique<Timer>(server_.loop_, [this] { send_due(); });
    timer_->start(std::max(Millis(0), delayed_.front().due - server_.loop_.now()));
  }

  void send_due() {
    while (!delayed_.empty() && delayed_.front().due <= server_.loop_.now()) {
      const Delayed due = std::move(delayed_.front());
      delayed_.pop_front();
      delayed_bytes_ -= due.bytes.size();
      send(due.bytes, due.after);
      if (due.after != AfterReply::keep) return;
    }
    if (!delayed_.empty()) start_timer();
    go_on();
  }

  HttpServer& server_;
  Stream stream_;
  http::RequestParser parser_;
  std::string replies_;  // to the requests of the read under way
  AfterReply after_ = AfterReply::keep;
  bool paused_ = false;
  bool closing_ = false;
  std::deque<Delayed> delayed_;
  size_t delayed_bytes_ = 0;
  std::unique_ptr<Timer> timer_;
};

HttpServer::HttpServer(Loop& loop, Handler& handler, Millis lag)
    : loop_(loop), handler_(handler), lag_(lag), reaper_(loop, [this] { ended_.clear(); }) {}

HttpServer::~HttpServer() {
  if (listener_ == nullptr) return;
  listener_->data = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(listener_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_tcp_t*>(handle); });
}

Result<void> HttpServer::serve(UniqueFd listening_fd) {
  listener_ = new uv_tcp_t;
  uv_tcp_init(loop_.uv(), listener_);
  listener_->data = this;
  int status = uv_tcp_open(listener_, listening_fd.get());
  if (status == 0) {
    listening_fd.release();
    status = uv_listen(reinterpret_cast<uv_stream_t*>(listener_), kBacklog,
                       [](uv_stream_t* listener, int accept_status) {
                         auto* server = static_cast<HttpServer*>(listener->data);
                         if (accept_status == 0) server->accept();
                       });
  }
  if (status == 0) return {};
  return error(code_of_errno(-status), "cannot listen: {}", uv_strerror(status));
}

void HttpServer::accept() {
  auto connection = std::make_unique<Connection>(*this);
  if (!connection->accept(*listener_)) return;
  connections_.emplace(connection.get(), std::move(connection));
}

void HttpServer::remove(Connection* connection) {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  ended_.push_back(std::move(found->second));
  connections_.erase(found);
  reaper_.start(Millis(0));
}

Result<UniqueFd> listen_tcp(const std::string& host, uint16_t& port) {
  Result<SocketAddress> address = address_of_literal(host, port);
  if (!address) return std::move(address).failure();
  const sa_family_t family = address->storage.ss_family;
  const socklen_t length = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  UniqueFd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error(errno, "cannot make a socket");
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (::bind(fd.get(), address->get(), length) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return errno_error(errno, fmt::format("cannot listen on {}", address->text()));
  }
  SocketAddress bound;
  socklen_t bound_length = sizeof bound.storage;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound_length) != 0) {
    return errno_error(errno, "cannot tell the bound port");
  }
  port = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port
                                  : reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port);
  return fd;
}

}  // namespace gigafetch::net
