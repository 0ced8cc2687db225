#include "net/address.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "base/escape.h"
#include "net/thread_pool.h"

namespace gigafetch::net {
namespace {

// Every so many connections, a failing address gets one, to see whether it is back.
constexpr size_t kProbeEvery = 64;

}  // namespace

std::string SocketAddress::text() const {
  char host[INET6_ADDRSTRLEN] = "?";
  if (storage.ss_family == AF_INET6) {
    const auto* six = reinterpret_cast<const sockaddr_in6*>(&storage);
    uv_ip6_name(six, host, sizeof host);
    return fmt::format("[{}]:{}", host, ntohs(six->sin6_port));
  }
  const auto* four = reinterpret_cast<const sockaddr_in*>(&storage);
  uv_ip4_name(four, host, sizeof host);
  return fmt::format("{}:{}", host, ntohs(four->sin_port));
}

Result<SocketAddress> address_of_literal(const std::string& host, uint16_t port) {
  SocketAddress address;
  if (uv_ip4_addr(host.c_str(), port, reinterpret_cast<sockaddr_in*>(&address.storage)) == 0 ||
      uv_ip6_addr(host.c_str(), port, reinterpret_cast<sockaddr_in6*>(&address.storage)) == 0) {
    return address;
  }
  return error(ErrorCode::usage, "'{}' is not an IP address", printable(host));
}

struct Resolver::Request {
  uv_getaddrinfo_t uv;
  Resolver* owner;  // null once cancelled
  std::string host;
  Callback callback;
};

void Resolver::cancel() {
  if (request_ == nullptr) return;
  request_->owner = nullptr;
  uv_cancel(reinterpret_cast<uv_req_t*>(&request_->uv));
  request_ = nullptr;
}

void Resolver::resolve(const std::string& host, uint16_t port, Callback callback) {
  if (Result<SocketAddress> literal = address_of_literal(host, port)) {
    callback(std::vector<SocketAddress>{*literal});
    return;
  }
  if (Result<void> ready = start_thread_pool(loop_); !ready) {
    callback(std::move(ready).failure());
    return;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  auto request = std::make_unique<Request>(Request{{}, this, host, std::move(callback)});
  request->uv.data = request.get();
  const auto on_result = [](uv_getaddrinfo_t* uv, int status, addrinfo* found) {
    const std::unique_ptr<Request> done(static_cast<Request*>(uv->data));
    const std::unique_ptr<addrinfo, decltype(&uv_freeaddrinfo)> list(found, uv_freeaddrinfo);
    if (done->owner == nullptr) return;
    done->owner->request_ = nullptr;
    if (status != 0) {
      const bool final =
          status == UV_EAI_NONAME || status == UV_EAI_NODATA || status == UV_EAI_FAIL;
      done->callback(error(final ? ErrorCode::not_found : ErrorCode::origin,
                           "the host '{}' cannot be looked up ({}); check the URL",
                           printable(done->host), uv_strerror(status)));
      return;
    }
    std::vector<SocketAddress> addresses;
    for (const addrinfo* info = list.get(); info != nullptr; info = info->ai_next) {
      if (info->ai_family != AF_INET && info->ai_family != AF_INET6) continue;
      SocketAddress& address = addresses.emplace_back();
      std::memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
    }
    if (addresses.empty()) {
      done->callback(
          error(ErrorCode::not_found, "the host '{}' has no address", printable(done->host)));
      return;
    }
    done->callback(std::move(addresses));
  };
  const std::string service = std::to_string(port);
  const int status =
      uv_getaddrinfo(loop_.uv(), &request->uv, on_result, host.c_str(), service.c_str(), &hints);
  if (status != 0) {
    request->callback(error(ErrorCode::origin, "the host '{}' cannot be looked up: {}",
                            printable(host), uv_strerror(status)));
    return;
  }
  request_ = request.release();
}

void AddressRing::assign(std::vector<SocketAddress> addresses, size_t start) {
  addresses_ = std::move(addresses);
  failing_.assign(addresses_.size(), false);
  failing_count_ = probed_ = 0;
  cursor_ = addresses_.empty() ? 0 : start % addresses_.size();
}

size_t AddressRing::next() {
  ++picks_;
  if (failing_count_ > 0 && picks_ % kProbeEvery == 0) return next_failing();
  const bool any = all_failing();
  for (size_t step = 0; step < addresses_.size(); ++step) {
    const size_t index = cursor_;
    cursor_ = (cursor_ + 1) % addresses_.size();
    if (any || !failing_[index]) return index;
  }
  return cursor_;
}

size_t AddressRing::next_failing() {
  do {
    probed_ = (probed_ + 1) % addresses_.size();
  } while (!failing_[probed_]);
  return probed_;
}

void AddressRing::report(size_t index, bool connected) {
  if (index >= failing_.size() || failing_[index] == !connected) return;
  failing_[index] = !connected;
  failing_count_ += connected ? size_t(-1) : size_t(1);
}

}  // namespace gigafetch::net
