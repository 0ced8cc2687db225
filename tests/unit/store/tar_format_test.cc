#include "store/tar_format.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

using namespace std::string_literals;

constexpr uint64_t kEightGiB = uint64_t{8} << 30;

std::string header_of(std::string_view path, uint64_t size, uint64_t mtime = 0) {
  std::string out;
  TarHeaders(mtime).append(out, path, size);
  return out;
}
std::string extended_header_of(std::string_view path, uint64_t size) {
  std::string out;
  TarHeaders(0).append_extended(out, path, size);
  return out;
}

// With the checksum that its other bytes ask for.
std::string with_checksum(std::string block) {
  block.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : block.substr(0, kTarBlock))
    sum += static_cast<uint8_t>(c);
  std::string digits;
  for (int shift = 15; shift >= 0; shift -= 3)
    digits += static_cast<char>('0' + (sum >> shift & 7));
  return block.replace(148, 7, digits + '\0');
}

// A block of another program's: a header of ours with another type.
std::string header_of_type(char type, uint64_t size = 0) {
  std::string block = header_of("name", size);
  block[156] = type;
  return with_checksum(block);
}

// An extended header with any records, before the block of a member.
std::string with_records(const std::string& records, std::string_view path = "p",
                         uint64_t size = 1) {
  std::string out = header_of("PaxHeader", records.size());
  out[156] = 'x';
  out = with_checksum(out) + records;
  out.append(tar_padding(records.size()), '\0');
  return out + header_of(path, size);
}

TarParse parsed(std::string_view bytes) {
  TarMember member;
  return parse_tar_header(bytes, member);
}

void check_round_trip(std::string_view path, uint64_t size, const std::string& header) {
  TarMember member;
  // What stands behind it is of no account.
  REQUIRE(parse_tar_header(header + "body", member) == TarParse::member);
  CHECK(member.path == path);
  CHECK(member.size == size);
  CHECK(member.header_bytes == header.size());
}

std::string random_path(Random& random) {
  std::string path(1 + random.below(random.below(2) == 0 ? 110 : 4000), 'x');
  for (char& c : path)
    c = static_cast<char>(1 + random.below(255));
  return path;
}

}  // namespace

TEST_CASE("a plain header is the block that POSIX says") {
  std::string want(kTarBlock, '\0');
  const auto put = [&](size_t at, const std::string& bytes) {
    want.replace(at, bytes.size(), bytes);
  };
  put(0, "d/a b.txt");
  put(100, "0000644\0"s);
  put(108, "0000000\0"s);
  put(116, "0000000\0"s);
  put(124, "00000001751\0"s);  // 1001
  put(136, "14373373352\0"s);  // 1676539626
  put(156, "0");
  put(257, "ustar\00000"s);
  CHECK((header_of("d/a b.txt", 1001, 1676539626) == with_checksum(want)));
}

TEST_CASE("an extended header is two records before the block that POSIX says") {
  const std::string path(101, 'p');
  const std::string records = "111 path=" + path + "\n" + "29 size=00000000000000000005\n";
  REQUIRE(records.size() == 111 + 29);
  std::string first = header_of("PaxHeader", records.size());
  first[156] = 'x';
  std::string want = with_checksum(first) + records;
  want.append(kTarBlock - records.size(), '\0');
  want += header_of(path.substr(0, 100), 5);
  CHECK((header_of(path, 5) == want));
}

TEST_CASE("a header is extended where its path or its size does not fit") {
  CHECK(header_of(std::string(100, 'p'), kEightGiB - 1).size() == kTarBlock);
  CHECK(header_of(std::string(101, 'p'), 0).size() == 3 * kTarBlock);
  CHECK(header_of("p", kEightGiB).size() == 3 * kTarBlock);
  for (const uint64_t size : {uint64_t{0}, kEightGiB - 1, kEightGiB, UINT64_MAX}) {
    for (const size_t length : {1, 99, 100, 101, 4096, 12'288}) {
      const std::string path(length, 'p');
      check_round_trip(path, size, header_of(path, size));
      check_round_trip(path, size, extended_header_of(path, size));
    }
  }
}

TEST_CASE("an extended header is as long for every size, and the first block is of one time") {
  for (const size_t length : {1, 80, 100, 473, 474, 475, 900, 5000}) {
    const std::string path(length, 'p');
    const size_t bytes = extended_header_of(path, 0).size();
    CHECK(bytes % kTarBlock == 0);
    for (const uint64_t size : {uint64_t{1}, uint64_t{999}, kEightGiB, UINT64_MAX})
      CHECK(extended_header_of(path, size).size() == bytes);
  }
}

TEST_CASE("a record counts the digits of its own length") {
  // Around the lengths where a record's length gets another digit.
  for (size_t length = 80; length < 1100; ++length) {
    const std::string path(length, 'p');
    check_round_trip(path, 7, extended_header_of(path, 7));
  }
}

TEST_CASE("a time that has no room is cut, not written over its neighbours") {
  check_round_trip("p", 3, header_of("p", 3, UINT64_MAX));
  CHECK(header_of("p", 3, UINT64_MAX).substr(136, 12) == "77777777777\0"s);
}

TEST_CASE("padding fills the last block of a body") {
  CHECK(tar_padding(0) == 0);
  CHECK(tar_padding(1) == 511);
  CHECK(tar_padding(511) == 1);
  CHECK(tar_padding(512) == 0);
  CHECK(tar_padding(513) == 511);
  CHECK(tar_padding(UINT64_MAX) == 1);
}

TEST_CASE("what is written is read back, for any path and size; what is cut off wants more") {
  Random random(20'230'217);
  for (int i = 0; i < 2000; ++i) {
    const std::string path = random_path(random);
    const uint64_t size = random.below(2) == 0 ? random.below(70'000) : random.below(UINT64_MAX);
    const std::string header =
        random.below(2) == 0 ? header_of(path, size) : extended_header_of(path, size);
    CAPTURE(path.size());
    CAPTURE(size);
    check_round_trip(path, size, header);
    CHECK(parsed(header.substr(0, random.below(header.size()))) == TarParse::need_more);
  }
}

TEST_CASE("every beginning of a header wants more") {
  for (const std::string& header :
       {header_of("p", 5), header_of(std::string(1000, 'p'), 5), extended_header_of("p", 5)}) {
    for (size_t size = 0; size < header.size(); ++size)
      CHECK(parsed(std::string_view(header).substr(0, size)) == TarParse::need_more);
  }
}

// But for sizes of 8 GiB and more: they stand in an extended header's records alone.
TEST_CASE("no flipped bit of a header leads to a body of another length") {
  const std::string long_path = "d/" + std::string(130, 'p');
  const std::vector<std::pair<std::string, std::string>> headers = {
      {"a/file", header_of("a/file", 0123456)},
      {long_path, header_of(long_path, 4711)},
      {"b", extended_header_of("b", kEightGiB - 2)},
      {"c", extended_header_of("c", 0)}};
  for (const auto& [path, header] : headers) {
    TarMember whole;
    REQUIRE(parse_tar_header(header, whole) == TarParse::member);
    for (size_t bit = 0; bit < 8 * header.size(); ++bit) {
      std::string flipped = header;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      TarMember member;
      CAPTURE(bit / 8);
      const TarParse result = parse_tar_header(flipped, member);
      // One that wants more gets it from what follows, and does not end the archive.
      CHECK(result != TarParse::end);
      if (result == TarParse::member) {
        CHECK(member.size == whole.size);
        CHECK(member.header_bytes == whole.header_bytes);
      }
    }
  }
}

TEST_CASE("zeros end an archive, where a member could begin") {
  CHECK(parsed(std::string(kTarBlock, '\0')) == TarParse::end);
  CHECK(parsed(std::string(kTarEndBytes, '\0')) == TarParse::end);
  CHECK(parsed(std::string(kTarBlock - 1, '\0')) == TarParse::need_more);
  std::string extension_only = extended_header_of("p", 5);
  extension_only.replace(2 * kTarBlock, kTarBlock, kTarBlock, '\0');
  CHECK(parsed(extension_only) == TarParse::broken);
}

TEST_CASE("members of other kinds are nothing that was written here") {
  REQUIRE(parsed(header_of_type('0')) == TarParse::member);
  // Links, devices, a folder, a FIFO, GNU's long names and sparse files, a global header.
  for (const char type : {'1', '2', '3', '4', '5', '6', '7', 'L', 'K', 'S', 'g', 'X', '\0'})
    CHECK(parsed(header_of_type(type)) == TarParse::broken);
}

TEST_CASE("bytes that are no header are broken") {
  CHECK(parsed(std::string(kTarBlock, 'x')) == TarParse::broken);
  CHECK(parsed(std::string(kTarBlock, '\xFF')) == TarParse::broken);
  CHECK(parsed("x" + std::string(kTarBlock - 1, '\0')) == TarParse::broken);
  Random random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string block(2 * kTarBlock, '\0');
    for (char& c : block)
      c = static_cast<char>(random.below(256));
    CHECK(parsed(block) == TarParse::broken);
  }
}

TEST_CASE("an extended header says path and size as its block does, and nothing else") {
  const std::string path = "10 path=p\n", size = "9 size=1\n";
  REQUIRE(parsed(with_records(path + size)) == TarParse::member);
  for (const std::string& records : std::vector<std::string>{
           "",
           path,
           size,
           "9 path=q\n" + size,
           "10 path=q\n" + size,
           path + "9 size=2\n",
           path + "9 size=x\n",
           path + "11 size=1x\n",
           path + "11 size=-1\n",
           path + "29 size=99999999999999999999\n",
           path + size + "15 mtime=12345\n",
           path + size + "x",
           path + "8 size=1\n",
           "0 " + path + size,
           path + "99999999999999999999999 size=1\n",
           path + "3 \n",
           "8 path p\n" + size,
           std::string(300, '\0'),
       }) {
    CAPTURE(records);
    CHECK(parsed(with_records(records)) == TarParse::broken);
  }
  CHECK(parsed(with_records(path + size, "other")) == TarParse::broken);
  CHECK(parsed(with_records(path + size, "p", 2)) == TarParse::broken);
}

TEST_CASE("an extended header is not waited for when it is longer than any") {
  std::string huge = header_of("PaxHeader", 1 << 20);
  huge[156] = 'x';
  CHECK(parsed(with_checksum(huge)) == TarParse::broken);
  // Nor does one come behind another.
  const std::string header = extended_header_of("p", 5);
  CHECK(parsed(header.substr(0, 2 * kTarBlock) + header) == TarParse::broken);
}

namespace {

// What a command prints; "(failed)" when it fails.
std::string output_of(const std::string& command) {
  std::string out;
  FILE* const pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::array<char, 4096> bytes;
  while (const size_t got = std::fread(bytes.data(), 1, bytes.size(), pipe))
    out.append(bytes.data(), got);
  return ::pclose(pipe) == 0 ? out : "(failed)";
}

}  // namespace

// The bodies are holes, which cost nothing to write, and which both programs skip.
TEST_CASE("members of any size are read by GNU tar and bsdtar, and so is what stands behind them") {
  const TempFolder folder;
  const std::string archive = folder / "large.tar";
  const UniqueFd fd(::open(archive.c_str(), O_WRONLY | O_CREAT, 0600));
  REQUIRE(fd);
  uint64_t end = 0;
  const auto write = [&](std::string_view bytes) {
    REQUIRE(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(end)) ==
            static_cast<ssize_t>(bytes.size()));
    end += bytes.size();
  };
  const auto add_hole = [&](const std::string& header, uint64_t size) {
    write(header);
    end += size + tar_padding(size);
  };
  std::string expected;
  for (const uint64_t size : {kEightGiB - 1, kEightGiB, kEightGiB + 1, 9 * kEightGiB + 17}) {
    add_hole(header_of(fmt::format("plain-{}", size), size), size);
    add_hole(extended_header_of(fmt::format("extended-{}", size), size), size);
    expected += fmt::format("{0} plain-{0}\n{0} extended-{0}\n", size);
  }
  write(header_of("last", 5) + "hello" + std::string(tar_padding(5), '\0'));
  write(std::string(kTarEndBytes, '\0'));
  expected += "5 last\n";
  const std::string quoted = "'" + archive + "'";
  CHECK(output_of("tar -tvf " + quoted + " | awk '{print $3, $6}'") == expected);
  CHECK(output_of("bsdtar -tvf " + quoted + " | awk '{print $5, $9}'") == expected);
  CHECK(output_of("tar -xOf " + quoted + " last") == "hello");
  CHECK(output_of("bsdtar -xOf " + quoted + " last") == "hello");
}

}  // namespace gigafetch::store
