#include "base/figures.h"

#include <doctest/doctest.h>

namespace gigafetch {

TEST_CASE("figures are balanced when every listed name is settled in one way") {
  Figures figures;
  CHECK(figures.balanced());
  figures.listed = 10;
  figures.stored = 4;
  figures.failed = 3;
  figures.rejected = 2;
  CHECK(figures.settled() == 9);
  CHECK_FALSE(figures.balanced());
  figures.filtered = 1;  // never listed, so nothing to settle
  CHECK_FALSE(figures.balanced());
  figures.duplicates = 1;
  CHECK(figures.balanced());
}

}  // namespace gigafetch
