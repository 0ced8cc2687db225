#include "store/content_hash.h"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <utility>

#include "base/random.h"

namespace gigafetch::store {
namespace {

std::string random_bytes(Random& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes)
    byte = static_cast<char>(random.next());
  return bytes;
}

}  // namespace

TEST_CASE("the hash of a content stays what it is: it stands in ledgers") {
  CHECK(content_hash("", "") == Hash128{0x5310e30cce3262d6, 0x7a3edd697cf3f953});
  CHECK(content_hash("a/b c.txt", "body") == Hash128{0x7a60eb3420b64819, 0x419f80d67f7dd294});
  CHECK(content_hash("n", std::string(1000, 'x')) ==
        Hash128{0x77f5bec94225f519, 0x739b83267a8902c1});
}

TEST_CASE("name and body both count, and where the one ends and the other begins") {
  std::set<Hash128> hashes;
  for (const auto& [name, body] : {std::pair{"a", "b"}, std::pair{"b", "a"}, std::pair{"ab", ""},
                                   std::pair{"", "ab"}, std::pair{"a", "bb"}, std::pair{"aa", "b"},
                                   std::pair{"", ""}, std::pair{"a", ""}, std::pair{"", "a"}}) {
    hashes.insert(content_hash(name, body));
  }
  CHECK(hashes.size() == 9);
}

TEST_CASE("a change of any one bit of a body is another hash") {
  Random random(2);
  const std::string body = random_bytes(random, 300);
  std::set<Hash128> hashes = {content_hash("n", body)};
  for (size_t bit = 0; bit < body.size() * 8; ++bit) {
    std::string changed = body;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    hashes.insert(content_hash("n", changed));
  }
  CHECK(hashes.size() == body.size() * 8 + 1);
}

TEST_CASE("two files whose bodies are swapped have another sum") {
  CHECK(content_hash("a", "one") + content_hash("b", "two") !=
        content_hash("a", "two") + content_hash("b", "one"));
}

TEST_CASE("a body in pieces of any sizes has the hash of the whole") {
  Random random(3);
  // The sizes at which XXH3 changes its way, and larger ones.
  for (const size_t size : {0,   1,   3,   4,   8,    9,    16,   17,   128,    129,    240,
                            241, 255, 256, 257, 1023, 1024, 1025, 4096, 65'536, 65'537, 300'000}) {
    CAPTURE(size);
    const std::string body = random_bytes(random, size);
    const std::string name = random_bytes(random, random.below(30));
    const Hash128 whole = content_hash(name, body);
    for (int round = 0; round < 8; ++round) {
      ContentHasher hasher(name);
      for (size_t at = 0; at < body.size();) {
        const size_t piece =
            round == 0 ? body.size() : random.below(round < 4 ? 300 : body.size()) + 1;
        hasher.update(std::string_view(body).substr(at, piece));
        if (random.chance(0.1)) hasher.update("");
        at += piece;
      }
      CHECK(hasher.value() == whole);
    }
  }
}

TEST_CASE("asking for the value ends nothing") {
  ContentHasher hasher("n");
  CHECK(hasher.value() == content_hash("n", ""));
  hasher.update("ab");
  CHECK(hasher.value() == content_hash("n", "ab"));
  CHECK(hasher.value() == content_hash("n", "ab"));
  hasher.update("c");
  CHECK(hasher.value() == content_hash("n", "abc"));
}

TEST_CASE("a hasher that is moved goes on") {
  ContentHasher first("n");
  first.update("ab");
  ContentHasher second(std::move(first));
  second.update("c");
  ContentHasher third("other");
  third = std::move(second);
  third.update("d");
  CHECK(third.value() == content_hash("n", "abcd"));
}

}  // namespace gigafetch::store
