// StreamedPage: the names of a page that is read as it comes, cut into pieces. Loop thread only.
//
// A page too long to be held is recorded in pieces, each a page of its own in ledger and plan.
// Where a piece ends depends on the names alone, not on how the bytes come, so that the same page
// gives the same pieces in every run. Read again, it is a row of sections:
//
//     passed over | open piece | passed over | open piece | passed over | new pieces ...
//
// Positions count the names listed, without those that a filter leaves out.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "coordinator/page_intake.h"

namespace gigafetch::coordinator {

class StreamedPage final : public listing::NameReceiver {
 public:
  // An open piece.
  struct Span {
    uint64_t number = 0;  // of its page record
    uint64_t first = 0;   // position
    uint64_t listed = 0;
  };
  // What the names that come belong to.
  enum class Section : uint8_t {
    passed,  // nothing that is open
    span,    // the first of the spans left
    fresh,   // a new piece
    over,    // nothing: no more are wanted
  };

  // `intake` takes each piece, and must outlive this.
  explicit StreamedPage(PageIntake& intake) : intake_(intake) {}

  // The page begins. `spans` ascend; new pieces begin at `fresh_from`, nullopt when there are to be
  // none; `limit` is how many names may be listed in them.
  void begin(std::deque<Span> spans, std::optional<uint64_t> fresh_from, uint64_t limit);

  bool on_name(std::string_view name) override;
  bool on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) override;

  Section section() const { return section_; }
  // The section's end is reached, and the intake holds it; go_on() is to be called.
  bool stopped() const { return stopped_; }
  // To the section behind. `limit` as above.
  void go_on(uint64_t limit);

  // No page is under way.
  void leave() { section_ = Section::over; }

  uint64_t position() const { return position_; }
  // Of all names so far.
  const store::Hash128& hash() const { return hash_; }
  const Span& span() const { return spans_.front(); }
  // Whether the names that come are new ones, or the section behind this one's end.
  bool is_at_fresh() const { return spans_.empty() && fresh_from_ == position_; }

 private:
  void enter(uint64_t limit);
  bool pass(std::string_view name);
  bool after_name(std::string_view name, uint64_t listed_before, bool more);
  void count(std::string_view name);

  PageIntake& intake_;
  std::deque<Span> spans_;
  std::optional<uint64_t> fresh_from_;
  Section section_ = Section::over;
  bool stopped_ = false;
  uint64_t position_ = 0;
  store::Hash128 hash_;
};

}  // namespace gigafetch::coordinator
