#include "coordinator/list_names.h"

#include <optional>
#include <set>

#include "base/escape.h"
#include "base/log.h"
#include "coordinator/lister.h"
#include "coordinator/origin_watch.h"
#include "coordinator/page_intake.h"

namespace gigafetch::coordinator {
namespace {

// Of a page that is read as it comes, so much is held.
constexpr size_t kPieceBytes = 1 << 20;
constexpr size_t kMostTold = 8;

class Walk final : private Lister::Client, private listing::NameReceiver {
 public:
  Walk(const ListingSettings& settings, const Filter& filter, uint64_t limit,
       const std::function<Result<void>(std::string_view)>& on_name, listing::Dialect& dialect)
      : left_(limit),
        intake_(filter),
        on_name_(on_name),
        watch_(loop_, settings.origin.canonical(),
               [this](const std::string& why) { end(error(ErrorCode::origin, "{}", why)); }),
        lister_(loop_, settings, dialect, *this) {}

  Result<void> run() {
    if (left_ == 0) return {};
    lister_.start();
    loop_.run();
    return result_;
  }

 private:
  bool wants_page() override { return left_ > 0; }

  Result<uint64_t> on_page(listing::PageReader& page,
                           const std::optional<std::string>& next) override {
    begin_piece();
    streams_ = false;
    told_of_page_ = to_pass_ = 0;
    if (Result<void> read = page.read_names(*this); !read) return std::move(read).failure();
    // Only now: of a page that is refused nothing is told.
    const uint64_t names = intake_.listed() + intake_.filtered();
    if (tell() && (!next || left_ == 0)) end({});
    return names;
  }

  // A page read as it comes is told piece by piece; asked for again, what was told is passed over.
  bool on_stream_begin(const std::optional<std::string>& asked_by, bool) override {
    if (asked_by != streamed_) told_of_page_ = 0;
    streamed_ = asked_by;
    to_pass_ = told_of_page_;
    streams_ = true;
    begin_piece();
    return true;
  }
  listing::NameReceiver& stream_receiver() override { return *this; }
  Result<Flow> on_piece() override {
    if (!piece_ends()) return Flow::none;
    if (tell() && left_ == 0) end({});
    begin_piece();
    return Flow::more;
  }
  Result<uint64_t> on_stream_end(const std::optional<std::string>& next) override {
    const bool told = tell();
    const uint64_t names = told_of_page_;
    told_of_page_ = 0;
    if (told && (!next || left_ == 0)) end({});
    return names;
  }

  void begin_piece() {
    intake_.begin_page(0, left_);
    names_.clear();
    name_ends_.clear();
  }
  bool piece_ends() const { return intake_.bytes() >= kPieceBytes || intake_.limit_reached(); }

  // False when nobody wants more.
  bool tell() {
    size_t begin = 0;
    for (const size_t end : name_ends_) {
      Result<void> taken = on_name_(std::string_view(names_).substr(begin, end - begin));
      if (!taken) {
        this->end(std::move(taken));  // not the page's fault: told as it is
        return false;
      }
      begin = end;
    }
    left_ -= intake_.listed();
    told_of_page_ += intake_.listed() + intake_.filtered();
    return true;
  }

  bool on_bad_name(std::string_view shown, FailureClass cause, std::string_view why) override {
    if (to_pass_ > 0) return --to_pass_, true;
    if (told_.size() < kMostTold && told_.emplace(shown).second) {
      log_warning("'{}' is no name that can be fetched: {}", printable(shown), why);
    }
    const bool more = intake_.on_bad_name(shown, cause, why);
    return more && (!streams_ || !piece_ends());
  }

  bool on_name(std::string_view name) override {
    if (to_pass_ > 0) return --to_pass_, true;
    const uint64_t before = intake_.listed() - intake_.duplicates();
    const bool more = intake_.on_name(name);
    if (intake_.listed() - intake_.duplicates() > before) {
      names_ += name;
      name_ends_.push_back(names_.size());
    }
    return more && (!streams_ || !piece_ends());
  }

  void on_page_asked(const std::string& page, Millis patience) override {
    watch_.asked(page, patience);
  }
  void on_origin_alive() override { watch_.alive(); }
  void on_origin_trouble(const std::string& text) override { watch_.trouble(text); }
  void on_listing_failed(const Error& why) override { end(why); }

  void end(Result<void> result) {
    result_ = std::move(result);
    lister_.stop();
    loop_.stop();
  }

  net::Loop loop_;
  uint64_t left_;  // names that may still be listed
  PageIntake intake_;
  const std::function<Result<void>(std::string_view)>& on_name_;
  std::string names_;  // of the page, in its order
  std::vector<size_t> name_ends_;
  std::optional<std::string> streamed_;  // asks for the last page that was read as it came
  uint64_t told_of_page_ = 0;            // names, and what a filter left out
  uint64_t to_pass_ = 0;                 // of them, still
  bool streams_ = false;                 // the page under way is read as it comes
  std::set<std::string> told_;           // what was no name
  Result<void> result_;
  OriginWatch watch_;
  Lister lister_;
};

}  // namespace

Result<void> list_names(const ListingSettings& settings, const Filter& filter, uint64_t limit,
                        const std::function<Result<void>(std::string_view name)>& on_name) {
  auto dialect = listing::make_dialect(settings.api, settings.origin.base_path);
  if (!dialect) return std::move(dialect).failure();
  return Walk(settings, filter, limit, on_name, *dialect.value()).run();
}

}  // namespace gigafetch::coordinator
