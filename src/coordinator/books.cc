#include "coordinator/books.h"

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

class VerifyBooks final : public Books {
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
  Result<void> write_failures() override {
    return noted_ ? findings_.flush() : noted_;
  }
  void complete(Figures& figures) const override {
    figures.bytes = bytes_;
    figures.set_hash_low = names_.sum.low;
    figures.set_hash_high = names_.sum.high;
    figures.content_low = content_.low;
    figures.content_high = content_.high;
  }

 private:
  void note(std::string_view name, const FileFailure& failure) {
    if (noted_) noted_ = findings_.add(name, failure);
  }

  store::LedgerState state_;
  store::DeadLetters findings_;
  store::SetHash names_;  // of those found as they should be
  store::Hash128 content_;
  uint64_t bytes_ = 0;
  bool fits_ = true;
  Result<void> noted_;
};

}  // namespace

Result<std::unique_ptr<Books>> open_books(const Settings& settings, int state_fd) {
  if (settings.is_verify()) {
    auto findings = store::DeadLetters::create(state_fd, settings.findings);
    if (!findings) return std::move(findings).failure();
    return std::unique_ptr<Books>(std::make_unique<VerifyBooks>(std::move(findings).value()));
  }
  Result<std::optional<store::Ledger>> ledger = store::Ledger::open(state_fd, false);
  if (!ledger) return std::move(ledger).failure();
  if (!ledger->has_value()) return error(ErrorCode::not_found, "the ledger has been removed");
  return std::unique_ptr<Books>(std::make_unique<LedgerBooks>(std::move(**ledger)));
}

}  // namespace gigafetch::coordinator
