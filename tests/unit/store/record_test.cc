#include "store/record.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/byte_order.h"
#include "base/random.h"
#include "base/temp_folder.h"

namespace gigafetch::store {
namespace {

constexpr uint64_t kSeed = 0x1122334455667788;

std::string record(uint64_t offset, uint8_t type, std::string_view payload, uint64_t seed = kSeed) {
  std::string out;
  append_record(out, offset, seed, type, payload);
  return out;
}

bool valid(std::string_view bytes, uint64_t offset, uint64_t seed = kSeed) {
  Record read;
  return read_record(bytes, offset, seed, read);
}

struct Entry {
  uint8_t type;
  std::string payload;
  uint64_t begin, end;
};

// A file of records from `begin` on.
struct File {
  explicit File(const std::vector<std::string>& payloads, uint64_t begin = 0) : bytes(begin, '#') {
    uint8_t type = 0;
    for (const std::string& payload : payloads) {
      const uint64_t at = bytes.size();
      type = static_cast<uint8_t>(type % 255 + 1);
      append_record(bytes, at, kSeed, type, payload);
      entries.push_back({type, payload, at, bytes.size()});
    }
    save();
  }
  void save() {
    write_file(folder / "f", bytes);
    fd = UniqueFd(::open((folder / "f").c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(fd);
  }

  TempFolder folder;
  std::string bytes;
  std::vector<Entry> entries;
  UniqueFd fd;
};

std::string letters(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i)
    text[i] = static_cast<char>('a' + i % 26);
  return text;
}

// Reads the records from the `first`-th on, and checks each. False at the first that fails.
bool all_come(const File& file, size_t first = 0) {
  RecordFile records(file.fd.get(), kSeed, file.entries[first].begin, file.bytes.size());
  Record read;
  for (size_t i = first; i < file.entries.size(); ++i) {
    CHECK(records.offset() == file.entries[i].begin);
    CHECK_FALSE(records.at_end());
    if (!records.next(read)) return false;
    CHECK(read.type == file.entries[i].type);
    CHECK((read.payload == file.entries[i].payload));
    CHECK(read.end == file.entries[i].end);
  }
  CHECK(records.at_end());
  return true;
}

}  // namespace

TEST_CASE("the bytes of a record stay what they are: they stand in state folders") {
  const std::string bytes = record(0, 3, "abc", 0);
  CHECK(bytes.substr(0, 5) ==
        "\x03\x03"
        "abc");
  CHECK(bytes.size() == 5 + 8);
  CHECK(get_le<uint64_t>(bytes.data() + 5) == 0xab0f64caa1889ceb);
  CHECK(get_le<uint64_t>(record(4096, 3, "abc").data() + 5) == 0x4b64efe79850fcde);
}

TEST_CASE("a record comes back, with what is behind it left alone") {
  for (const size_t size : {0, 1, 127, 128, 20'000}) {
    const std::string payload = letters(size);
    const std::string bytes = record(1000, 255, payload);
    for (const std::string behind : {"", "x", "\x01\x02"}) {
      const std::string all = bytes + behind;
      Record read;
      REQUIRE(read_record(all, 1000, kSeed, read));
      CHECK(read.type == 255);
      CHECK(read.payload == payload);
      CHECK(read.end == 1000 + bytes.size());
      CHECK(read.payload.data() >= all.data());
      CHECK(read.payload.data() <= all.data() + all.size());
    }
  }
}

TEST_CASE("records are appended behind what is there") {
  std::string out = "before";
  append_record(out, 6, kSeed, 1, "one");
  const size_t second = out.size();
  append_record(out, second, kSeed, 2, "two");
  Record read;
  REQUIRE(read_record(std::string_view(out).substr(6), 6, kSeed, read));
  CHECK(read.payload == "one");
  CHECK(read.end == second);
  REQUIRE(read_record(std::string_view(out).substr(second), second, kSeed, read));
  CHECK(read.payload == "two");
}

TEST_CASE("a record is valid at its own offset and in its own file only") {
  const std::string bytes = record(1000, 1, "payload");
  CHECK(valid(bytes, 1000));
  for (const uint64_t offset : {0, 1, 999, 1001, 2000})
    CHECK_FALSE(valid(bytes, offset));
  CHECK_FALSE(valid(bytes, 1000, kSeed + 1));
  CHECK_FALSE(valid(bytes, 1000, 0));
}

TEST_CASE("a record that is cut anywhere is none") {
  const std::string bytes = record(7, 1, letters(300));
  for (size_t length = 0; length < bytes.size(); ++length)
    CHECK_FALSE(valid(bytes.substr(0, length), 7));
}

TEST_CASE("a record of which any one bit is wrong is none") {
  const std::string bytes = record(7, 1, letters(300));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string damaged = bytes + letters(300);
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    CAPTURE(bit);
    CHECK_FALSE(valid(damaged, 7));
  }
}

TEST_CASE("zeros are no record, and neither are random bytes") {
  CHECK_FALSE(valid(std::string(1000, '\0'), 0));
  CHECK_FALSE(valid(record(0, 0, "type zero"), 0));
  Random random(4);
  for (int round = 0; round < 5000; ++round) {
    std::string bytes(random.below(40), '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random.next());
    CHECK_FALSE(valid(bytes, 0));
  }
}

TEST_CASE("a file's records come one after the other, from wherever one begins") {
  const File file({"", "one", letters(5000), "two", ""}, 100);
  for (size_t first = 0; first < file.entries.size(); ++first)
    CHECK(all_come(file, first));
}

TEST_CASE("a file without records is at its end") {
  const File file({}, 10);
  CHECK(RecordFile(file.fd.get(), kSeed, 10, 10).at_end());
  CHECK(RecordFile(file.fd.get(), kSeed, 0, 0).at_end());
}

TEST_CASE("records come whole wherever the reader's window ends") {
  Random random(6);
  for (int round = 0; round < 6; ++round) {
    std::vector<std::string> payloads;
    for (size_t total = 0; total < 1'500'000;) {
      payloads.push_back(letters(random.below(round < 3 ? 600 : 60'000)));
      total += payloads.back().size();
    }
    CHECK(all_come(File(payloads)));
  }
}

TEST_CASE("records larger than the reader's window come whole") {
  // A name that is refused for its length may be as long as a page.
  CHECK(all_come(File({"a", letters(300'000), "b", letters(17'000'000), letters(40'000), "c"})));
}

TEST_CASE("damage is told with its place, and what was before it has come") {
  for (const size_t damaged : {0, 1, 3}) {
    File file({"one", letters(400'000), "three", letters(1000)});
    const Entry& entry = file.entries[damaged];
    char& byte = file.bytes[entry.begin + entry.payload.size() / 2];
    byte = static_cast<char>(byte ^ 1);
    file.save();
    RecordFile records(file.fd.get(), kSeed, 0, file.bytes.size());
    Record read;
    for (size_t i = 0; i < damaged; ++i)
      REQUIRE(records.next(read));
    for (int i = 0; i < 2; ++i) {
      const Result<void> result = records.next(read);
      REQUIRE_FALSE(result);
      CHECK(result.failure().code == ErrorCode::malformed);
      CHECK(result.failure().text.find(std::to_string(entry.begin)) != std::string::npos);
      CHECK(records.offset() == entry.begin);
    }
  }
}

TEST_CASE("a length that claims more than any record has is damage") {
  File file({"one"});
  file.bytes += std::string("\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 9) + letters(600'000);
  file.save();
  RecordFile records(file.fd.get(), kSeed, 0, file.bytes.size());
  Record read;
  REQUIRE(records.next(read));
  const Result<void> result = records.next(read);
  REQUIRE_FALSE(result);
  CHECK(result.failure().code == ErrorCode::malformed);
}

TEST_CASE(
    "a record that goes over the end that was given is damage, as is a file that is shorter") {
  const File file({"one", letters(1000)});
  const uint64_t end = file.bytes.size();
  for (const uint64_t wrong : {end - 1, end - 500, end + 1}) {
    CAPTURE(wrong);
    RecordFile records(file.fd.get(), kSeed, 0, wrong);
    Record read;
    Result<void> result = records.next(read);
    while (result && !records.at_end())
      result = records.next(read);
    REQUIRE_FALSE(result);
    CHECK(result.failure().code == ErrorCode::malformed);
  }
}

TEST_CASE("a file that cannot be read is told as such") {
  const TempFolder folder;
  RecordFile records(folder.fd(), kSeed, 0, 100);  // a folder
  Record read;
  const Result<void> result = records.next(read);
  REQUIRE_FALSE(result);
  CHECK(result.failure().code == ErrorCode::io);
}

}  // namespace gigafetch::store
