#include "base/unix_socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/io.h"
#include "base/temp_folder.h"

namespace gigafetch {
namespace {

UniqueFd accepted(int listener) {
  return UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
}

// Whether a connection to `name` reaches `listener`.
bool reaches(int folder_fd, std::string_view name, int listener) {
  const Result<UniqueFd> client = connect_in_folder(folder_fd, name);
  if (!client) return false;
  const UniqueFd server = accepted(listener);
  if (!server) return false;
  if (write_all(client.value().get(), "ping") != 0) return false;
  char bytes[8];
  return ::read(server.get(), bytes, sizeof bytes) == 4;
}

int flags_of(int fd, int command) {
  return ::fcntl(fd, command);
}

}  // namespace

TEST_CASE("a socket in a folder with a path longer than a socket address is reached") {
  const TempFolder folder;
  const std::filesystem::path deep =
      folder.path() / std::string(100, 'a') / std::string(100, 'b') / std::string(100, 'c');
  std::filesystem::create_directories(deep);
  const UniqueFd deep_fd(::open(deep.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(deep_fd);
  const Result<UniqueFd> listener = listen_in_folder(deep_fd.get(), "socket");
  REQUIRE(listener.ok());
  CHECK(std::filesystem::is_socket(deep / "socket"));
  CHECK(reaches(deep_fd.get(), "socket", listener.value().get()));
}

TEST_CASE("a folder known by an O_PATH descriptor serves as well") {
  const TempFolder folder;
  const UniqueFd path_fd(::open(folder.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Result<UniqueFd> listener = listen_in_folder(path_fd.get(), "socket");
  REQUIRE(listener.ok());
  CHECK(reaches(path_fd.get(), "socket", listener.value().get()));
}

TEST_CASE("a socket is for its owner alone, whatever the umask") {
  const TempFolder folder;
  for (const mode_t mask : {mode_t{0}, mode_t{0022}, mode_t{0277}}) {
    const mode_t before = ::umask(mask);
    const Result<UniqueFd> listener = listen_in_folder(folder.fd(), "socket");
    ::umask(before);
    REQUIRE(listener.ok());
    struct stat there;
    REQUIRE(::stat((folder / "socket").c_str(), &there) == 0);
    CHECK((there.st_mode & 07777) == 0600);
  }
}

TEST_CASE("a socket left by an earlier run is replaced") {
  const TempFolder folder;
  Result<UniqueFd> old = listen_in_folder(folder.fd(), "socket");
  REQUIRE(old.ok());
  old.value().reset();
  REQUIRE(std::filesystem::is_socket(folder / "socket"));
  CHECK_FALSE(connect_in_folder(folder.fd(), "socket").ok());
  const Result<UniqueFd> listener = listen_in_folder(folder.fd(), "socket");
  REQUIRE(listener.ok());
  CHECK(reaches(folder.fd(), "socket", listener.value().get()));
}

TEST_CASE("descriptors are not inherited by programs, and the listener never blocks") {
  const TempFolder folder;
  const Result<UniqueFd> listener = listen_in_folder(folder.fd(), "socket");
  REQUIRE(listener.ok());
  CHECK((flags_of(listener.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((flags_of(listener.value().get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK_FALSE(accepted(listener.value().get()));
  const Result<UniqueFd> client = connect_in_folder(folder.fd(), "socket");
  REQUIRE(client.ok());
  CHECK((flags_of(client.value().get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((flags_of(client.value().get(), F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("a socket that is not there cannot be connected to") {
  const TempFolder folder;
  const Result<UniqueFd> client = connect_in_folder(folder.fd(), "socket");
  REQUIRE_FALSE(client.ok());
  CHECK(client.failure().code == ErrorCode::not_found);
  CHECK(client.failure().text.find("socket") != std::string::npos);
}

TEST_CASE("a folder in the socket's place is refused and left alone") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "socket");
  CHECK_FALSE(listen_in_folder(folder.fd(), "socket").ok());
  CHECK(std::filesystem::is_directory(folder / "socket"));
}

TEST_CASE("a name that no socket address can hold is refused") {
  const TempFolder folder;
  // In a child: a copy past the end of the address ends the process.
  for (const size_t length : {size_t{108}, size_t{200}, size_t{100'000}}) {
    CAPTURE(length);
    const std::string name(length, 'n');
    CHECK(in_child([&] { return listen_in_folder(folder.fd(), name).ok() ? 1 : 0; }) == 0);
    CHECK(in_child([&] { return connect_in_folder(folder.fd(), name).ok() ? 1 : 0; }) == 0);
  }
}

}  // namespace gigafetch
