#include "base/unix_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace gigafetch {
namespace {

constexpr int kBacklog = 512;

Result<sockaddr_un> address_in_folder(int folder_fd, std::string_view name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder_fd, name);
  if (path.size() >= sizeof address.sun_path) {
    return error(ErrorCode::usage, "a socket's name of {} bytes is too long", name.size());
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

}  // namespace

Result<UniqueFd> listen_in_folder(int folder_fd, std::string_view name) {
  const std::string file(name);
  const Result<sockaddr_un> address = address_in_folder(folder_fd, name);
  if (!address) return address.failure();
  if (::unlinkat(folder_fd, file.c_str(), 0) != 0 && errno != ENOENT) {
    return errno_error(errno, fmt::format("cannot remove the old socket {}", file));
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error(errno, "cannot make a Unix socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.value()), sizeof(sockaddr_un)) !=
      0) {
    return errno_error(errno, fmt::format("cannot bind the socket {} in the state folder", file));
  }
  if (::fchmodat(folder_fd, file.c_str(), 0600, 0) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return errno_error(errno, fmt::format("cannot listen on the socket {}", file));
  }
  return fd;
}

Result<UniqueFd> connect_in_folder(int folder_fd, std::string_view name) {
  const Result<sockaddr_un> address = address_in_folder(folder_fd, name);
  if (!address) return address.failure();
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error(errno, "cannot make a Unix socket");
  int status;
  do {
    status = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.value()),
                       sizeof(sockaddr_un));
  } while (status != 0 && errno == EINTR);
  if (status != 0) return errno_error(errno, fmt::format("cannot connect to the socket {}", name));
  return fd;
}

}  // namespace gigafetch
