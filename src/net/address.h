// Addresses of an origin: finding them, and sharing them out over connections.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/loop.h"

namespace gigafetch::net {

// An IPv4 or IPv6 address with its port.
struct SocketAddress {
  sockaddr_storage storage{};
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  // "127.0.0.1:80", "[::1]:80"
  std::string text() const;
};

// The address that a literal ("127.0.0.1", "::1") stands for.
Result<SocketAddress> address_of_literal(const std::string& host, uint16_t port);

// Looks host names up, on libuv's thread pool. Loop thread only.
class Resolver {
 public:
  using Callback = std::function<void(Result<std::vector<SocketAddress>>)>;

  explicit Resolver(Loop& loop) : loop_(loop) {}
  ~Resolver() { cancel(); }
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Calls `callback` once: at once for a literal, else from the loop. Fails with not_found when the
  // host does not exist, and with origin when the answer may be another one later. One look-up at
  // a time: only when not busy().
  void resolve(const std::string& host, uint16_t port, Callback callback);
  bool busy() const { return request_ != nullptr; }
  void cancel();

 private:
  struct Request;
  Loop& loop_;
  Request* request_ = nullptr;  // owned by libuv until its callback
};

// Shares connections out over addresses, and prefers those that work. Pure.
class AddressRing {
 public:
  // `start` shifts the first address, so that several processes do not all begin with the same.
  void assign(std::vector<SocketAddress> addresses, size_t start);
  bool empty() const { return addresses_.empty(); }

  // The address for the next connection: round robin over those whose last connection succeeded, or
  // over all when none does; now and then a failing one, to see whether it is back. The index is
  // for report().
  size_t next();
  const SocketAddress& at(size_t index) const { return addresses_[index]; }

  // What became of a connection to this address.
  void report(size_t index, bool connected);
  // No address accepts connections at present.
  bool all_failing() const { return failing_count_ == addresses_.size(); }

 private:
  size_t next_failing();

  std::vector<SocketAddress> addresses_;
  std::vector<bool> failing_;
  size_t failing_count_ = 0;
  size_t cursor_ = 0;
  size_t probed_ = 0;  // the failing address that was tried last
  size_t picks_ = 0;
};

}  // namespace gigafetch::net
