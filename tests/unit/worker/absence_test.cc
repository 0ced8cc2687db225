#include "worker/absence.h"

#include <doctest/doctest.h>

using namespace gigafetch;
using namespace gigafetch::worker;

namespace {

constexpr Millis kLongest{5'000};

struct Fixture {
  Random random{1};
  Absence absence{random};
};

}  // namespace

TEST_CASE_FIXTURE(Fixture, "an origin that answers is in no trouble") {
  CHECK(absence.trouble().empty());
  CHECK_FALSE(absence.on_accepted());
  CHECK_FALSE(absence.on_answer());
  CHECK_FALSE(absence.is_unanswered());
  CHECK_FALSE(absence.wants_lookup());
}

TEST_CASE_FIXTURE(Fixture,
                  "tries at an origin that refuses come with growing waits, up to a bound") {
  CHECK(absence.on_refused("refused") <= Millis(100));
  Millis last{0};
  for (int tries = 0; tries < 100; ++tries)
    last = absence.on_refused("refused");
  CHECK(last >= kLongest / 2);
  CHECK(last <= kLongest);
  CHECK(absence.trouble() == "refused");
  CHECK(absence.on_accepted());
  CHECK(absence.trouble().empty());
  CHECK(absence.on_refused("refused") <= Millis(100));
}

TEST_CASE_FIXTURE(Fixture, "a name is looked up again at every eighth refusal") {
  int lookups = 0;
  for (int tries = 1; tries <= 24; ++tries) {
    absence.on_refused("refused");
    if (absence.wants_lookup()) ++lookups;
    CHECK(absence.wants_lookup() == (tries % 8 == 0));
  }
  CHECK(lookups == 3);
}

TEST_CASE_FIXTURE(Fixture, "an origin that accepts and hangs up is in trouble until it answers") {
  CHECK(absence.on_unanswered() <= Millis(100));
  CHECK(absence.is_unanswered());
  const std::string trouble = absence.trouble();
  CHECK_FALSE(trouble.empty());
  absence.on_accepted();
  CHECK(absence.trouble() == trouble);
  CHECK(absence.on_answer());
  CHECK(absence.trouble().empty());
  CHECK_FALSE(absence.is_unanswered());
  CHECK_FALSE(absence.on_answer());
}

TEST_CASE_FIXTURE(Fixture, "a name that may be the cause waits longer than the next try") {
  for (int tries = 0; tries < 100; ++tries) {
    const Millis wait = absence.on_unanswered();
    CHECK(absence.until_others_tried() > wait);
  }
}

TEST_CASE_FIXTURE(Fixture, "an origin that hung up and then refuses is one that refuses") {
  absence.on_unanswered();
  SUBCASE("as a try shows") {
    absence.on_refused("refused");
    CHECK(absence.trouble() == "refused");
  }
  SUBCASE("while the next try is waited for") {
    absence.on_not_accepted();
  }
  CHECK_FALSE(absence.is_unanswered());
  absence.on_accepted();
  CHECK(absence.trouble().empty());
}

TEST_CASE_FIXTURE(Fixture, "a want of this host is told until a connection is made") {
  absence.set_trouble("no descriptors");
  CHECK(absence.trouble() == "no descriptors");
  CHECK_FALSE(absence.on_accepted());
  CHECK(absence.trouble().empty());
}
