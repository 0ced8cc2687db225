#include "worker/batch.h"

#include <doctest/doctest.h>

#include <optional>

#include "base/random.h"
#include "worker/batch_of.h"

using namespace gigafetch;
using namespace gigafetch::worker;
using namespace gigafetch::testing;

namespace {

using Ranges = std::vector<wire::Outcome::Range>;
using store::Hash128;

// What its body hashes to does not matter to a batch.
const Hash128 kSome{1, 2};

FileFailure failure(const std::string& text) {
  return {FailureClass::http_status, 404, 1, text};
}

// The outcome as the coordinator gets it; nullopt when it refuses it.
std::optional<wire::Outcome> travelled(const wire::Outcome& outcome) {
  std::string frame;
  wire::append(frame, outcome);
  Result<wire::Outcome> parsed =
      wire::parse_outcome(std::string_view(frame).substr(wire::kFrameHeaderBytes));
  if (!parsed) return std::nullopt;
  return std::move(parsed).value();
}

}  // namespace

TEST_CASE("a batch keeps its names beyond the frame that brought them") {
  std::unique_ptr<Batch> batch;
  {
    NameList list;
    list.append("first");
    list.append("");
    list.append(std::string_view("\0\xFF/", 3));
    std::string frame = list.bytes();
    batch = std::make_unique<Batch>(wire::BatchView{7, 3, false, {3}, frame});
    frame.assign(frame.size(), '?');
  }
  CHECK(batch->count() == 3);
  CHECK(batch->name(0) == "first");
  CHECK(batch->name(1) == "");
  CHECK(batch->name(2) == std::string_view("\0\xFF/", 3));
}

TEST_CASE("a batch says whether its names have been waited for, and its tasks say the same") {
  const auto patient = patient_batch_of(numbered(1)), other = batch_of(numbered(1));
  CHECK(patient->is_patient());
  CHECK(Task{patient.get(), 0}.is_patient());
  CHECK_FALSE(other->is_patient());
  CHECK_FALSE(Task{other.get(), 0}.is_patient());
}

TEST_CASE("a batch is settled when its last name is, in whatever order and whatever way") {
  const auto batch = batch_of(numbered(4));
  CHECK_FALSE(batch->all_settled());
  CHECK(batch->open_count() == 4);
  batch->settle_stored(2, 10, kSome);
  batch->settle_failed(0, failure("x"));
  batch->release(3);
  CHECK_FALSE(batch->all_settled());
  CHECK(batch->open_count() == 1);
  batch->settle_stored(1, 5, kSome);
  CHECK(batch->all_settled());
  CHECK(batch->open_count() == 0);
}

TEST_CASE("an outcome tells what was stored in runs, and failures by ascending index") {
  const auto batch = batch_of(numbered(7), 77);
  batch->settle_failed(5, failure("five"));
  batch->settle_stored(3, 100, kSome);
  batch->settle_failed(0, failure("zero"));
  batch->settle_stored(1, 11, kSome);
  batch->settle_failed(4, failure("four"));
  batch->settle_stored(2, 0, kSome);
  batch->settle_stored(6, 1, kSome);
  const wire::Outcome outcome = batch->take_outcome();
  CHECK(outcome.lease == 77);
  CHECK(outcome.count == 7);
  CHECK(outcome.last);
  CHECK(outcome.stored == Ranges{{1, 3}, {6, 1}});
  REQUIRE(outcome.contents.size() == 1);
  CHECK(outcome.contents[0].bytes == 112);
  REQUIRE(outcome.failures.size() == 3);
  CHECK(outcome.failures[0].index == 0);
  CHECK(outcome.failures[0].file.text == "zero");
  CHECK(outcome.failures[1].index == 4);
  CHECK(outcome.failures[1].file.text == "four");
  CHECK(outcome.failures[2].index == 5);
  CHECK(outcome.failures[2].file.text == "five");
  CHECK(outcome.released.empty());
}

TEST_CASE("with the last outcome, names not settled are released, in as few runs as there are") {
  const auto batch = batch_of(numbered(10));
  for (const uint32_t settled : {0u, 3u, 4u, 9u})
    batch->settle_stored(settled, 1, kSome);
  const wire::Outcome outcome = batch->take_last_outcome();
  CHECK(outcome.last);
  CHECK(outcome.stored == Ranges{{0, 1}, {3, 2}, {9, 1}});
  CHECK(outcome.released == Ranges{{1, 2}, {5, 4}});
  CHECK(batch->all_settled());
}

TEST_CASE("a batch that was not begun is released whole") {
  const wire::Outcome outcome = batch_of(numbered(5))->take_last_outcome();
  CHECK(outcome.released == Ranges{{0, 5}});
  CHECK(outcome.stored.empty());
  CHECK(outcome.contents.empty());
  CHECK(outcome.last);
}

TEST_CASE("an outcome in parts tells each name once, and is the last when none is left") {
  const auto batch = batch_of(numbered(6), 5, {2, 4});
  CHECK(batch->untold_count() == 0);
  batch->settle_stored(1, 4, {1, 1});
  batch->settle_stored(2, 5, {2, 0});
  CHECK(batch->untold_count() == 2);
  const wire::Outcome first = batch->take_outcome();
  CHECK(batch->untold_count() == 0);
  CHECK_FALSE(first.last);
  CHECK(first.stored == Ranges{{1, 2}});
  CHECK(first.contents == std::vector<wire::Outcome::Content>{{0, 4, 1, 1}, {1, 5, 2, 0}});

  batch->settle_failed(0, failure("x"));
  batch->settle_stored(3, 6, {3, 0});
  batch->release(5);
  CHECK(batch->untold_count() == 3);
  const wire::Outcome second = batch->take_outcome();
  CHECK_FALSE(second.last);
  CHECK(second.lease == 5);
  CHECK(second.count == 6);
  CHECK(second.stored == Ranges{{3, 1}});
  CHECK(second.contents == std::vector<wire::Outcome::Content>{{1, 6, 3, 0}});
  REQUIRE(second.failures.size() == 1);
  CHECK(second.failures[0].index == 0);
  CHECK(second.released == Ranges{{5, 1}});

  const wire::Outcome third = batch->take_last_outcome();
  CHECK(third.last);
  CHECK(third.stored.empty());
  CHECK(third.contents.empty());
  CHECK(third.failures.empty());
  CHECK(third.released == Ranges{{4, 1}});
}

TEST_CASE("an outcome with nothing new says nothing") {
  const auto batch = batch_of(numbered(2));
  const wire::Outcome outcome = batch->take_outcome();
  CHECK_FALSE(outcome.last);
  CHECK(outcome.stored.empty());
  CHECK(outcome.contents.empty());
  CHECK(outcome.failures.empty());
  CHECK(outcome.released.empty());
}

TEST_CASE("contents are summed segment by segment, and segments without any are left out") {
  const auto batch = batch_of(numbered(10), 1, {1, 2, 3, 4});
  batch->settle_stored(9, 1, {10, 0});
  batch->settle_stored(0, 2, {20, 0});
  batch->settle_failed(1, failure("x"));
  batch->release(2);
  batch->settle_stored(5, 4, {30, 0});
  batch->settle_stored(3, 8, {40, 0});
  batch->settle_stored(6, 16, {50, 0});
  const wire::Outcome outcome = batch->take_outcome();
  CHECK(outcome.contents ==
        std::vector<wire::Outcome::Content>{{0, 2, 20, 0}, {2, 12, 70, 0}, {3, 17, 60, 0}});
}

TEST_CASE("the sum of contents does not depend on the order, and carries into its upper half") {
  const std::vector<Hash128> hashes = {{UINT64_MAX, 5}, {2, UINT64_MAX}, {7, 11}};
  const auto batch = batch_of(numbered(3)), other = batch_of(numbered(3));
  for (const uint32_t i : {0u, 1u, 2u})
    batch->settle_stored(i, 1, hashes[i]);
  for (const uint32_t i : {2u, 0u, 1u})
    other->settle_stored(i, 1, hashes[i]);
  const Hash128 sum = hashes[0] + hashes[1] + hashes[2];
  CHECK(batch->take_outcome().contents ==
        std::vector<wire::Outcome::Content>{{0, 3, sum.low, sum.high}});
  CHECK(other->take_outcome().contents ==
        std::vector<wire::Outcome::Content>{{0, 3, sum.low, sum.high}});
}

TEST_CASE(
    "whatever is settled and told in whatever order, the coordinator hears of each name once") {
  Random random(3);
  for (int round = 0; round < 500; ++round) {
    const auto count = static_cast<uint32_t>(1 + random.below(40));
    std::vector<uint32_t> segments;
    std::vector<uint32_t> segment_of;
    for (uint32_t left = count; left > 0; left -= segments.back()) {
      segments.push_back(static_cast<uint32_t>(1 + random.below(left)));
      segment_of.insert(segment_of.end(), segments.back(),
                        static_cast<uint32_t>(segments.size() - 1));
    }
    const auto batch = batch_of(numbered(count), 9, segments);
    std::vector<uint32_t> order(count);
    for (uint32_t i = 0; i < count; ++i)
      order[i] = i;
    for (uint32_t i = count; i > 1; --i)
      std::swap(order[i - 1], order[random.below(i)]);

    // What becomes of each name: stored, failed or released; and what the parts say of it.
    std::vector<char> fate(count, 'r'), told(count, '?');
    std::map<uint32_t, wire::Outcome::Content> contents, told_contents;
    const auto tell = [&](const std::optional<wire::Outcome>& part) {
      REQUIRE(part.has_value());
      const auto mention = [&](uint32_t index, char as) {
        CHECK(told[index] == '?');
        told[index] = as;
      };
      for (const auto& range : part->stored) {
        for (uint32_t i = 0; i < range.count; ++i)
          mention(range.first + i, 's');
      }
      for (const auto& range : part->released) {
        for (uint32_t i = 0; i < range.count; ++i)
          mention(range.first + i, 'r');
      }
      for (const auto& failed : part->failures)
        mention(failed.index, 'f');
      for (const auto& content : part->contents) {
        wire::Outcome::Content& sum = told_contents[content.segment];
        sum = {content.segment, sum.bytes + content.bytes, sum.sum_low + content.sum_low, 0};
      }
    };
    const uint64_t settled = random.below(count + 1);
    for (uint64_t i = 0; i < settled; ++i) {
      const uint32_t index = order[i];
      switch (random.below(3)) {
        case 0: {
          batch->settle_stored(index, index, {index, 0});
          fate[index] = 's';
          wire::Outcome::Content& sum = contents[segment_of[index]];
          sum = {segment_of[index], sum.bytes + index, sum.sum_low + index, 0};
          break;
        }
        case 1:
          batch->settle_failed(index, failure("x"));
          fate[index] = 'f';
          break;
        default:
          batch->release(index);
      }
      if (random.chance(0.2)) tell(travelled(batch->take_outcome()));
    }
    const std::optional<wire::Outcome> last = travelled(batch->take_last_outcome());
    tell(last);
    CHECK(last->last);
    CHECK(told == fate);
    CHECK(told_contents == contents);
  }
}

namespace {

// The name `index` is proven, by itself.
store::Receipt prove(Batch& batch, Part* part, uint32_t index, uint64_t bytes) {
  return batch.prove({&batch, part, index, 1, batch.segment_of(index), bytes, kSome});
}

}  // namespace

TEST_CASE("an answered name counts when it is proven, and is open again when it is taken back") {
  const auto batch = batch_of(numbered(3));
  batch->set_answered(0);
  batch->set_answered(1);
  batch->set_answered(2, false);
  CHECK(batch->open_count() == 0);
  CHECK(batch->waiting_count() == 3);
  CHECK(batch->take_outcome().stored.empty());
  prove(*batch, nullptr, 1, 5);
  batch->take_back(0, nullptr);
  CHECK(batch->open_count() == 1);
  CHECK(batch->take_outcome().stored == Ranges{{1, 1}});
  batch->settle_failed(2, failure("x"));
  batch->set_answered(0);
  prove(*batch, nullptr, 0, 6);
  CHECK(batch->all_settled());
  const wire::Outcome outcome = batch->take_outcome();
  CHECK(outcome.stored == Ranges{{0, 1}});
  CHECK(outcome.failures.size() == 1);
  CHECK(outcome.last);
}

TEST_CASE("the last outcome releases what is not proven") {
  const auto batch = batch_of(numbered(3));
  batch->set_answered(0);
  batch->set_answered(1);
  prove(*batch, nullptr, 1, 5);
  const wire::Outcome outcome = batch->take_last_outcome();
  CHECK(outcome.stored == Ranges{{1, 1}});
  CHECK(outcome.released == Ranges{{0, 1}, {2, 1}});
}

namespace {

std::unique_ptr<Batch> gathering_batch(const NameList& names) {
  return std::make_unique<Batch>(
      wire::BatchView{1, names.count(), false, {names.count()}, names.bytes()}, true);
}

}  // namespace

TEST_CASE("names that a sink gathers count with their part, and with the ends of its shards") {
  NameList names;
  for (const char* name : {"a", "b", "c", "d"})
    names.append(name);
  const auto batch = gathering_batch(names);
  Part* const first = batch->set_answered(0);
  CHECK(batch->set_answered(1) == first);
  CHECK(batch->gathered() == 2);
  CHECK(prove(*batch, first, 0, 1) == 0);
  CHECK_FALSE(batch->gathered_is_proven());
  batch->on_committed(7);
  CHECK(Batch::receipt_of(first) == 7);
  CHECK(batch->gathered() == 0);
  Part* const second = batch->set_answered(2);
  CHECK(Batch::receipt_of(second) == 0);
  CHECK_FALSE(batch->is_proven(7));
  CHECK(prove(*batch, first, 1, 2) == 7);
  CHECK(batch->is_proven(7));
  CHECK_MESSAGE(batch->take_outcome().stored.empty(), "the sink has not said so");
  batch->settle_part(7, {2, 5, 2000, true});
  const wire::Outcome outcome = batch->take_outcome();
  CHECK(outcome.stored == Ranges{{0, 2}});
  CHECK(outcome.contents.at(0).bytes == 3);
  CHECK(outcome.shards == std::vector<ShardEnd>{{2, 5, 2000, true}});
  CHECK(batch->take_outcome().shards.empty());
}

TEST_CASE("files of consecutive names are proven together, each in its segment") {
  NameList names;
  for (const char* name : {"a", "b", "c", "d", "e"})
    names.append(name);
  Batch batch(wire::BatchView{1, 5, false, {3, 2}, names.bytes()}, true);
  Part* const part = batch.set_answered(0);
  for (uint32_t i = 1; i < 5; ++i)
    CHECK(batch.set_answered(i) == part);
  batch.on_committed(7);
  CHECK(batch.prove({&batch, part, 0, 3, 0, 30, kSome}) == 0);
  CHECK(batch.prove({&batch, part, 3, 2, 1, 5, kSome}) == 7);
  batch.settle_part(7, {0, 0, 500, false});
  const wire::Outcome outcome = batch.take_outcome();
  CHECK(outcome.stored == Ranges{{0, 5}});
  CHECK(outcome.contents.at(0).bytes == 30);
  CHECK(outcome.contents.at(1).segment == 1);
  CHECK(outcome.contents.at(1).bytes == 5);
  CHECK(outcome.last);
}

TEST_CASE("a part that is undone is gathered again without what was taken back") {
  NameList names;
  for (const char* name : {"a", "b", "c"})
    names.append(name);
  const auto batch = gathering_batch(names);
  Part* const part = batch->set_answered(0);
  batch->set_answered(1);
  batch->set_answered(2);
  prove(*batch, part, 0, 10);
  batch->on_committed(7);
  batch->reopen(7);
  batch->take_back(1, part);
  CHECK(batch->gathered() == 2);
  CHECK(Batch::receipt_of(part) == 0);
  CHECK_MESSAGE(prove(*batch, part, 2, 30) == 0, "it is not committed");
  CHECK(batch->gathered_is_proven());
  batch->on_committed(8);
  CHECK(Batch::receipt_of(part) == 8);
  batch->settle_part(8, {0, 0, 500, false});
  const wire::Outcome outcome = batch->take_outcome();
  CHECK(outcome.stored == Ranges{{0, 1}, {2, 1}});
  CHECK(outcome.contents.at(0).bytes == 40);
  CHECK_FALSE(outcome.last);
}
