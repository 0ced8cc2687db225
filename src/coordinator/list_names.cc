#include "coordinator/list_names.h"

#include "coordinator/lister.h"
#include "coordinator/origin_watch.h"
#include "coordinator/page_intake.h"

namespace gigafetch::coordinator {
namespace {

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
    intake_.begin_page(0, left_);
    names_.clear();
    name_ends_.clear();
    if (Result<void> read = page.read_names(*this); !read) return std::move(read).failure();
    // Only now: of a page that is refused nothing is told.
    size_t begin = 0;
    for (const size_t end : name_ends_) {
      Result<void> taken = on_name_(std::string_view(names_).substr(begin, end - begin));
      if (!taken) {
        this->end(std::move(taken));  // not the page's fault: told as it is
        return intake_.listed();
      }
      begin = end;
    }
    left_ -= intake_.listed();
    if (!next || left_ == 0) end({});
    return intake_.listed() + intake_.filtered();
  }

  bool on_name(std::string_view name) override {
    const uint64_t before = intake_.listed() - intake_.duplicates();
    const bool more = intake_.on_name(name);
    if (intake_.listed() - intake_.duplicates() > before) {
      names_ += name;
      name_ends_.push_back(names_.size());
    }
    return more;
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
