#include "coordinator/books.h"

#include <map>

#include "base/escape.h"
#include "coordinator/known_pages.h"

namespace gigafetch::coordinator {
namespace {

constexpr char kDeadLetters[] = "failed.jsonl";

class LedgerBooks final : public Books {
 public:
  explicit LedgerBooks(store::Ledger ledger) : ledger_(std::move(ledger)) {}

  const store::LedgerState& state() const override { return ledger_.state(); }
  uint64_t add_page(const store::PageFacts& facts, const NameList&) override {
    return ledger_.add_page(facts);
  }
  void log_failure(std::string_view name, const FileFailure& failure) override {
    ledger_.log_failure(name, failure);
  }
  uint64_t log_end() const override { return ledger_.log_end(); }
  void add_stored(uint64_t page, IndexRange names) override { ledger_.add_stored(page, names); }
  void add_shard(const ShardEnd& end) override { ledger_.add_shard(end); }
  void add_content(uint64_t page, uint64_t bytes, const store::Hash128& content) override {
    ledger_.add_content(page, bytes, content);
  }
  void add_failed(uint64_t page, uint32_t index, std::string_view name,
                  const FileFailure& failure) override {
    ledger_.add_failed(page, index, name, failure);
  }
  Result<void> flush() override { return ledger_.flush(); }
  Result<void> write_failures() override { return ledger_.write_dead_letters(kDeadLetters); }
  store::Ledger* ledger() override { return &ledger_; }

 private:
  store::Ledger ledger_;
};

class VerifyBooks : public Books {
 public:
  explicit VerifyBooks(store::DeadLetters findings) : findings_(std::move(findings)) {}

  const store::LedgerState& state() const override { return state_; }
  uint64_t add_page(const store::PageFacts& facts, const NameList& names) override {
    for (NameCursor cursor(names.bytes()); !cursor.done(); cursor.next())
      names_.add(store::hash_of_name(cursor.name()));
    const uint64_t number = state_.next_page();
    fits_ &= state_.add_page(facts);
    return number;
  }
  void log_failure(std::string_view name, const FileFailure& failure) override {
    note(name, failure);
  }
  uint64_t log_end() const override { return 0; }
  void add_stored(uint64_t page, IndexRange names) override {
    fits_ &= state_.add_stored(page, {names}, 0, {});
  }
  void add_content(uint64_t, uint64_t bytes, const store::Hash128& content) override {
    bytes_ += bytes;
    content_ = content_ + content;
  }
  void add_failed(uint64_t page, uint32_t index, std::string_view name,
                  const FileFailure& failure) override {
    names_.sum = names_.sum - store::hash_of_name(name);
    fits_ &= state_.add_failed(page, {{index, index + 1}}, is_rejection(failure.cause) ? 1 : 0, 0);
    note(name, failure);
  }
  Result<void> flush() override {
    state_.archived(state_.done().size(), 0);
    if (!fits_) return error(ErrorCode::malformed, "internal error: the figures do not add up");
    return noted_;
  }
  Result<void> write_failures() override { return noted_ ? findings_.flush() : noted_; }
  void complete(Figures& figures) const override {
    figures.bytes = bytes_;
    figures.set_hash_low = names_.sum.low;
    figures.set_hash_high = names_.sum.high;
    figures.content_low = content_.low;
    figures.content_high = content_.high;
  }

 protected:
  void note(std::string_view name, const FileFailure& failure) {
    if (noted_) noted_ = findings_.add(name, failure);
  }

 private:
  store::LedgerState state_;
  store::DeadLetters findings_;
  store::SetHash names_;  // of those found as they should be
  store::Hash128 content_;
  uint64_t bytes_ = 0;
  bool fits_ = true;
  Result<void> noted_;
};

// Compares page by page with what the ledger has of it.
class LocateBooks final : public VerifyBooks {
 public:
  LocateBooks(store::DeadLetters findings, KnownPages known)
      : VerifyBooks(std::move(findings)), known_(std::move(known)) {}

  uint64_t add_page(const store::PageFacts& facts, const NameList& names) override {
    const uint64_t number = VerifyBooks::add_page(facts, names);
    const KnownPages::Page* const known = known_.find(facts.names_hash, facts.names);
    if (known == nullptr || facts.names == 0) return number;
    Page& page = pages_[number];
    page.stored = known->content;
    page.names = facts.names;
    NameCursor cursor(names.bytes());
    page.first = cursor.name();
    for (; !cursor.done(); cursor.next())
      page.last = cursor.name();
    return number;
  }
  void add_stored(uint64_t page, IndexRange names) override {
    VerifyBooks::add_stored(page, names);
    if (const auto found = pages_.find(page); found != pages_.end()) {
      found->second.settled += names.count();
    }
  }
  void add_content(uint64_t page, uint64_t bytes, const store::Hash128& content) override {
    VerifyBooks::add_content(page, bytes, content);
    if (const auto found = pages_.find(page); found != pages_.end()) {
      found->second.content = found->second.content + content;
    }
  }
  Result<void> flush() override {
    std::erase_if(pages_,
                  [&](const auto& entry) { return is_compared(entry.first, entry.second); });
    return VerifyBooks::flush();
  }

 private:
  struct Page {
    std::string first, last;  // names
    uint32_t names = 0;
    uint32_t settled = 0;
    store::Hash128 stored;   // what the ledger says
    store::Hash128 content;  // what is on disk
  };

  bool is_compared(uint64_t number, const Page& page) {
    if (page.settled < page.names) return false;
    if (page.content == page.stored) return true;
    note(page.first,
         FileFailure{FailureClass::different, 0, 0,
                     fmt::format("this file, or another of the {} on page {} of the listing (up to "
                                 "'{}'), is not what was stored",
                                 page.names, number + 1, printable(page.last))});
    return true;
  }

  KnownPages known_;
  std::map<uint64_t, Page> pages_;
};

Result<KnownPages> load_known_pages(int state_fd, int output_fd) {
  Result<std::optional<store::LedgerImage>> image = store::Ledger::read(state_fd, false, output_fd);
  if (!image) return std::move(image).failure();
  KnownPages known;
  if (!image->has_value()) return known;
  Result<void> loaded = known.load(state_fd, (*image)->job_id, (*image)->state);
  if (!loaded) return std::move(loaded).failure();
  return known;
}

}  // namespace

Result<std::unique_ptr<Books>> open_books(const Settings& settings, int state_fd, int output_fd) {
  if (settings.is_verify()) {
    auto findings = store::DeadLetters::create(state_fd, settings.findings);
    if (!findings) return std::move(findings).failure();
    if (settings.locate) {
      Result<KnownPages> known = load_known_pages(state_fd, output_fd);
      if (!known) return std::move(known).failure();
      return std::unique_ptr<Books>(
          std::make_unique<LocateBooks>(std::move(findings).value(), std::move(known).value()));
    }
    return std::unique_ptr<Books>(std::make_unique<VerifyBooks>(std::move(findings).value()));
  }
  Result<std::optional<store::Ledger>> ledger = store::Ledger::open(state_fd, false, output_fd);
  if (!ledger) return std::move(ledger).failure();
  if (!ledger->has_value()) return error(ErrorCode::not_found, "the ledger has been removed");
  return std::unique_ptr<Books>(std::make_unique<LedgerBooks>(std::move(**ledger)));
}

}  // namespace gigafetch::coordinator
