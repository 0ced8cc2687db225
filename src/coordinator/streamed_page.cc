#include "coordinator/streamed_page.h"

#include <utility>

namespace gigafetch::coordinator {
namespace {

// A piece ends with the name that makes it so long.
constexpr size_t kPieceBytes = 1 << 20;

}  // namespace

void StreamedPage::begin(std::deque<Span> spans, std::optional<uint64_t> fresh_from,
                         uint64_t limit) {
  spans_ = std::move(spans);
  fresh_from_ = fresh_from;
  position_ = 0;
  hash_ = {};
  enter(limit);
}

void StreamedPage::enter(uint64_t limit) {
  stopped_ = false;
  if (!spans_.empty()) {
    section_ = spans_.front().first == position_ ? Section::span : Section::passed;
    if (section_ == Section::span) limit = spans_.front().listed;
  } else if (fresh_from_) {
    section_ = *fresh_from_ <= position_ ? Section::fresh : Section::passed;
  } else {
    section_ = Section::over;
  }
  intake_.begin_page(0, limit);
}

void StreamedPage::go_on(uint64_t limit) {
  if (section_ == Section::span) spans_.pop_front();
  enter(limit);
}

void StreamedPage::count(std::string_view name) {
  ++position_;
  hash_ = store::chained(hash_, store::hash_of_name(name));
}

bool StreamedPage::pass(std::string_view name) {
  count(name);
  stopped_ = position_ == (spans_.empty() ? *fresh_from_ : spans_.front().first);
  return !stopped_;
}

bool StreamedPage::after_name(std::string_view name, uint64_t listed_before, bool more) {
  if (intake_.listed() > listed_before) count(name);
  stopped_ = !more || (section_ == Section::fresh && intake_.bytes() >= kPieceBytes);
  return !stopped_;
}

bool StreamedPage::on_name(std::string_view name) {
  if (section_ == Section::over) {
    stopped_ = true;
    return false;
  }
  if (section_ == Section::passed) return !intake_.passes(name) || pass(name);
  const uint64_t before = intake_.listed();
  return after_name(name, before, intake_.on_name(name));
}

bool StreamedPage::on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) {
  if (section_ == Section::over) {
    stopped_ = true;
    return false;
  }
  if (section_ == Section::passed) return pass(shown);
  const uint64_t before = intake_.listed();
  return after_name(shown, before, intake_.on_bad_name(shown, cause, why));
}

}  // namespace gigafetch::coordinator
