#include "base/byte_set.h"

#include <doctest/doctest.h>

#include <string>

using namespace gigafetch;

TEST_CASE("a run ends before the first byte that is not in the set, wherever that is") {
  ByteSet set{};
  set['a'] = set[0] = set[255] = true;
  const std::string in = std::string("a\0\xFF", 3);
  for (size_t size = 0; size < 40; ++size) {
    std::string text;
    for (size_t i = 0; i < size; ++i)
      text += in[i % in.size()];
    CHECK(leading_run(text, set) == size);
    for (size_t at = 0; at < size; ++at) {
      std::string other = text;
      other[at] = 'b';
      CHECK(leading_run(other, set) == at);
    }
  }
}
