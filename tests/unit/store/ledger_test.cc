#include "store/ledger.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/temp_folder.h"
#include "store/ledger_fields.h"
#include "store/page_archive.h"
#include "store/record.h"

namespace gigafetch::store {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;
using Next = PageFacts::Next;
using Names = std::vector<std::string>;

const JobIdentity kJob = {"http://example.org/api", "marker", "files", "tree",
                          {"*.jpg", "a b"},         {"tmp/*"}};

PageFacts page_of(uint32_t names, std::optional<std::string> marker = std::nullopt) {
  PageFacts facts;
  facts.next = marker ? Next::marker : Next::none;
  facts.marker = marker.value_or("");
  facts.listed = facts.names = names;
  facts.names_hash = {names, 17};
  return facts;
}

FileFailure passing() {
  return {FailureClass::http_status, 503, 6, "busy"};
}
FileFailure permanent() {
  return {FailureClass::http_status, 404, 1, "gone"};
}
FileFailure rejection() {
  return {FailureClass::bad_name, 0, 0, "bad"};
}

Ledger created(const TempFolder& state, const JobIdentity& job = kJob) {
  Result<Ledger> ledger = Ledger::create(state.fd(), job);
  REQUIRE(ledger.ok());
  return std::move(ledger).value();
}

Ledger opened(const TempFolder& state, bool repair = false) {
  Result<std::optional<Ledger>> ledger = Ledger::open(state.fd(), repair);
  REQUIRE_MESSAGE(ledger.ok(), (ledger ? std::string() : ledger.failure().text));
  REQUIRE(ledger->has_value());
  return std::move(**ledger);
}

std::string bytes_of(const TempFolder& state) {
  return read_file(state / "ledger");
}

// What a later run finds, of this boot or of another.
LedgerImage found(const TempFolder& state, bool rebooted = false) {
  const std::string boot = rebooted ? "another-boot" : current_boot_id().value();
  Result<LedgerImage> image = recover_ledger(bytes_of(state), Surroundings::of_boot(boot), false);
  REQUIRE_MESSAGE(image.ok(), (image ? std::string() : image.failure().text));
  CHECK(image->distrust == (rebooted ? Distrust::reboot : Distrust::none));
  return std::move(image).value();
}

// One group commit.
void commit(Ledger& ledger, const TempFolder& state) {
  Result<SyncJob> job = ledger.begin_sync(state.fd());
  REQUIRE(job.ok());
  REQUIRE(job->run().ok());
  REQUIRE(ledger.finish_sync(*job).ok());
}

// Makes the ledger one that was begun under another boot, by a run whose RUN is the last record of
// the base.
void move_to_other_boot(const TempFolder& state) {
  const LedgerImage image = found(state);
  std::string bytes = bytes_of(state);
  uint64_t begin = kLedgerHeaderBytes;
  Record run;
  while (read_record(std::string_view(bytes).substr(begin), begin, image.job_id, run) &&
         run.end < image.base_end) {
    begin = run.end;
  }
  REQUIRE(run.end == image.base_end);
  RunRecord other = decode_run(run.payload).value();
  other.place.boot_id.replace(0, 7, "another");
  std::string record;
  append_record(record, begin, image.job_id, run.type, encode_run(other));
  bytes.replace(begin, record.size(), record);
  write_file(state / "ledger", bytes);
}

// This process's descriptor of the file; -1 when it has none.
int descriptor_of(const fs::path& path) {
  struct stat here, there;
  if (::stat(path.c_str(), &there) != 0) return -1;
  for (int fd = 3; fd < 256; ++fd) {
    if (::fstat(fd, &here) == 0 && here.st_ino == there.st_ino && here.st_dev == there.st_dev) {
      return fd;
    }
  }
  return -1;
}

PageFacts after(const Ledger& ledger, PageFacts facts) {
  facts.log_end = ledger.log_end();
  return facts;
}

// So many pages of one name each, stored at once.
void add_done_pages(Ledger& ledger, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    PageFacts facts = page_of(1, "marker-" + std::to_string(i));
    facts.log_end = ledger.log_end();
    const uint64_t page = ledger.add_page(facts);
    ledger.add_stored(page, {0, 1});
    ledger.add_content(page, 10, {i, 1});
  }
}

// A page whose names have the given failures, in order.
uint64_t add_failed_page(Ledger& ledger, const std::string& prefix,
                         const std::vector<FileFailure>& failures) {
  PageFacts facts = page_of(static_cast<uint32_t>(failures.size()), "behind " + prefix);
  facts.log_end = ledger.log_end();
  const uint64_t page = ledger.add_page(facts);
  for (uint32_t i = 0; i < failures.size(); ++i)
    ledger.add_failed(page, i, prefix + std::to_string(i), failures[i]);
  REQUIRE(ledger.flush().ok());
  return page;
}

// The names in failed.jsonl, in order.
Names dead_letters(const Ledger& ledger, const TempFolder& state) {
  REQUIRE(ledger.write_dead_letters("failed.jsonl").ok());
  const std::string text = read_file(state / "failed.jsonl");
  const std::string key = "{\"name\":\"";
  Names names;
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    REQUIRE(text.compare(at, key.size(), key) == 0);
    at += key.size();
    names.push_back(text.substr(at, text.find('"', at) - at));
  }
  return names;
}

Names retry_names(const Ledger& ledger, const RetryRange& range) {
  Names names;
  CHECK(ledger
            .read_retry_names(range,
                              [&](uint32_t index, std::string_view name) {
                                CHECK(index == names.size());
                                names.emplace_back(name);
                                return true;
                              })
            .ok());
  return names;
}

// Makes the next retry page; its number, nullopt when there is nothing to try.
std::optional<uint64_t> add_retries(Ledger& ledger, bool permanent_too, uint64_t limit,
                                    uint32_t names = 1000) {
  auto plan = ledger.plan_retry(permanent_too, limit, names);
  REQUIRE(plan.ok());
  if (!plan->has_value()) return std::nullopt;
  CHECK(retry_names(ledger, (*plan)->range).size() == (*plan)->names);
  const uint64_t page = ledger.add_retry_page((*plan)->range, (*plan)->names);
  REQUIRE(ledger.flush().ok());
  return page;
}

bool balanced(const LedgerState& state) {
  const LedgerTotals& totals = state.totals();
  uint64_t open = 0;
  for (const auto& [number, page] : state.open())
    open += page.retry ? 0 : page.facts.names - page.settled.count();
  return totals.listed ==
         totals.stored + totals.failed + totals.rejected + totals.duplicates + open;
}

}  // namespace

// --- a new ledger ---

TEST_CASE("a state folder without a ledger has none") {
  const TempFolder state;
  Result<std::optional<LedgerImage>> image = Ledger::read(state.fd());
  REQUIRE(image.ok());
  CHECK_FALSE(image->has_value());
  Result<std::optional<Ledger>> ledger = Ledger::open(state.fd(), false);
  REQUIRE(ledger.ok());
  CHECK_FALSE(ledger->has_value());
  CHECK(fs::is_empty(state.path()));
}

TEST_CASE("a new ledger holds its job's identity, and nothing of the job is done") {
  const TempFolder state;
  const uint64_t job_id = created(state).job_id();
  Result<std::optional<LedgerImage>> image = Ledger::read(state.fd());
  REQUIRE(image.ok());
  REQUIRE(image->has_value());
  CHECK((*image)->identity == kJob);
  CHECK((*image)->job_id == job_id);
  CHECK((*image)->state == LedgerState());
  CHECK((*image)->size == fs::file_size(state / "ledger"));
  CHECK((*image)->base_end == (*image)->size);
  CHECK((*image)->cut == 0);
  CHECK((*image)->distrust == Distrust::none);
  CHECK(found(state, true).state == LedgerState());
  CHECK(opened(state).identity() == kJob);
}

TEST_CASE("the ledger's first bytes are those that are documented, for its owner alone") {
  const TempFolder state;
  const mode_t before = ::umask(0);
  const uint64_t job_id = created(state, JobIdentity{"u", "a", "s", "l", {}, {}, ""}).job_id();
  ::umask(before);
  const std::string bytes = bytes_of(state);
  const std::string id(reinterpret_cast<const char*>(&job_id), sizeof job_id);
  const std::string identity =
      "\1\0\0\0u\1\0\0\0a\1\0\0\0s\1\0\0\0l\0\0\0\0\1\0\0\0"
      "0"s;
  const std::string start =
      "GFLEDGER\4\0\0\0\0\0\0\0"s + id + '\1' + static_cast<char>(identity.size()) + identity;
  CHECK(bytes.substr(0, start.size()) == start);
  CHECK(bytes[start.size() + 8] == 3);
  for (const char* file : {"ledger", "failures"}) {
    struct stat there;
    REQUIRE(::stat((state / file).c_str(), &there) == 0);
    CHECK((there.st_mode & 07777) == 0600);
  }
}

TEST_CASE("a new ledger replaces the old one and its failures") {
  const TempFolder state;
  write_file(state / "ledger.new", std::string(10'000, 'x'));
  {
    Ledger old = created(state, JobIdentity{});
    add_failed_page(old, "a", {passing()});
    add_done_pages(old, 3);
    commit(old, state);
  }
  const Ledger fresh = created(state);
  CHECK(fresh.log_end() == 0);
  CHECK(found(state).identity == kJob);
  CHECK(found(state).state == LedgerState());
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(state.path()))
    files.insert(entry.path().filename());
  CHECK(files == std::set<std::string>{"ledger", "failures"});
}

TEST_CASE("a ledger that is a link or a folder is refused, and no link is followed") {
  const TempFolder state, outside;
  created(outside);
  fs::create_symlink(outside / "ledger", state / "ledger");
  CHECK_FALSE(Ledger::read(state.fd()).ok());
  CHECK_FALSE(Ledger::open(state.fd(), false).ok());
  fs::remove(state / "ledger");
  fs::create_directory(state / "ledger");
  CHECK_FALSE(Ledger::read(state.fd()).ok());
  CHECK_FALSE(Ledger::create(state.fd(), kJob).ok());
  fs::remove(state / "ledger");
  fs::remove(state / "ledger.new");
  write_file(outside / "victim", "precious");
  fs::create_symlink(outside / "victim", state / "ledger.new");
  CHECK_FALSE(Ledger::create(state.fd(), kJob).ok());
  CHECK(read_file(outside / "victim") == "precious");
}

// --- records ---

TEST_CASE("what is recorded is there for the next run, over any number of runs") {
  const TempFolder state;
  LedgerState expected;
  uint64_t job_id = 0;
  {
    Ledger ledger = created(state);
    job_id = ledger.job_id();
    PageFacts first = page_of(4, "m");
    first.listed = 7;
    first.duplicates = 2;
    first.rejected = 1;
    first.filtered = 3;
    ledger.log_failure(std::string(5000, 'x'), {FailureClass::name_too_long, 0, 0, "long"});
    first.log_end = ledger.log_end();
    CHECK(ledger.add_page(first) == 0);
    ledger.add_stored(0, {0, 1});
    ledger.add_stored(0, {2, 3});
    ledger.add_content(0, 20, {5, 6});
    ledger.add_failed(0, 1, "one", passing());
    REQUIRE(ledger.flush().ok());
    expected = ledger.state();
    CHECK(expected.open().at(0).settled.count() == 3);
  }
  CHECK(found(state).state == expected);
  {
    Ledger ledger = opened(state);
    CHECK(ledger.job_id() == job_id);
    CHECK(ledger.state() == expected);
    ledger.add_stored(0, {3, 4});
    PageFacts second = page_of(2, "n");
    second.log_end = ledger.log_end();
    CHECK(ledger.add_page(second) == 1);
    PageFacts changed = page_of(3, "n");
    changed.log_end = ledger.log_end();
    CHECK(ledger.replace_page(1, changed) == 2);
    REQUIRE(ledger.flush().ok());
    REQUIRE(add_retries(ledger, false, ledger.log_end()) == 3);
    ledger.add_stored(3, {0, 1});
    REQUIRE(ledger.flush().ok());
    expected = ledger.state();
    CHECK(expected.totals().failed == 0);
  }
  CHECK(found(state).state == expected);
  {
    Ledger ledger = opened(state);
    CHECK(ledger.state() == expected);
    ledger.relist();
    PageFacts known = page_of(4, "m");
    known.log_end = ledger.log_end();
    ledger.add_known_page(known, 30, {5, 6});
    PageFacts cut = page_of(5);
    cut.next = Next::same;
    cut.log_end = ledger.log_end();
    ledger.add_page(cut);
    REQUIRE(ledger.flush().ok());
    expected = ledger.state();
    CHECK(expected.relisting());
    CHECK(expected.frontier() == Frontier{false, "m", 5});
    CHECK(expected.totals() == LedgerTotals{9, 4, 0, 0, 0, 0, 30, 2, {5, 6}});
  }
  CHECK(opened(state).state() == expected);
  CHECK(balanced(expected));
}

TEST_CASE("outcomes that come between two flushes are one record a page") {
  const TempFolder state;
  Ledger ledger = created(state);
  ledger.add_page(page_of(100'000, "m"));
  REQUIRE(ledger.flush().ok());
  const uint64_t before = fs::file_size(state / "ledger");
  for (uint32_t i = 0; i < 90'000; ++i) {
    ledger.add_stored(0, {i, i + 1});
    ledger.add_content(0, 100, {i, 0});
  }
  CHECK(fs::file_size(state / "ledger") == before);
  REQUIRE(ledger.flush().ok());
  CHECK(fs::file_size(state / "ledger") < before + 64);
  CHECK(ledger.state().totals().stored == 90'000);
  CHECK(ledger.state().totals().bytes == 9'000'000);
  CHECK(found(state).state == ledger.state());
}

TEST_CASE("what contradicts the ledger makes the flush fail, and is not written") {
  enum class Wrong { twice, beyond, unknown_page, unbalanced, behind_the_end };
  for (const Wrong wrong : {Wrong::twice, Wrong::beyond, Wrong::unknown_page, Wrong::unbalanced,
                            Wrong::behind_the_end}) {
    CAPTURE(static_cast<int>(wrong));
    const TempFolder state;
    Ledger ledger = created(state);
    ledger.add_page(page_of(5));
    ledger.add_stored(0, {0, 2});
    REQUIRE(ledger.flush().ok());
    const LedgerState before = ledger.state();
    switch (wrong) {
      case Wrong::twice:
        ledger.add_stored(0, {1, 3});
        break;
      case Wrong::beyond:
        ledger.add_stored(0, {4, 6});
        break;
      case Wrong::unknown_page:
        ledger.add_failed(7, 0, "x", passing());
        break;
      case Wrong::unbalanced: {
        PageFacts facts = page_of(5);
        facts.listed = 6;
        ledger.replace_page(0, facts);
        break;
      }
      case Wrong::behind_the_end:
        ledger.add_page(page_of(1));
    }
    CHECK_FALSE(ledger.flush().ok());
    CHECK_FALSE(ledger.flush().ok());
    CHECK(found(state).state == before);
  }
}

TEST_CASE("after a failed write nothing is written, though the device has room again") {
  for (const char* file : {"ledger", "failures"}) {
    CAPTURE(std::string(file));
    const TempFolder state;
    const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    Ledger ledger = created(state);
    add_failed_page(ledger, "a", {passing()});
    const LedgerState before = ledger.state();
    // Its own descriptor, found by what it leads to.
    const int fd = descriptor_of(state / file);
    REQUIRE(fd >= 0);
    const UniqueFd kept(::dup(fd));
    REQUIRE(::dup2(full.get(), fd) == fd);
    ledger.add_failed(ledger.add_page(after(ledger, page_of(5, "m"))), 0, "b", passing());
    const Result<void> written = ledger.flush();
    REQUIRE_FALSE(written.ok());
    CHECK(written.failure().code == ErrorCode::no_space);
    REQUIRE(::dup2(kept.get(), fd) == fd);
    ledger.add_page(after(ledger, page_of(5, "n")));
    CHECK_FALSE(ledger.flush().ok());
    CHECK_FALSE(ledger.begin_sync(state.fd()).ok());
    CHECK(found(state).state == before);
    const Ledger next = opened(state);
    CHECK(next.state() == before);
    CHECK(dead_letters(next, state) == Names{"a0"});
  }
}

// --- torn ends and damage ---

TEST_CASE("a torn end is cut, and the ledger goes on there") {
  const TempFolder state;
  LedgerState before;
  std::string whole;
  {
    Ledger ledger = created(state);
    add_done_pages(ledger, 5);
    commit(ledger, state);
    add_done_pages(ledger, 5);
    REQUIRE(ledger.flush().ok());
    before = ledger.state();
    whole = bytes_of(state);
    add_done_pages(ledger, 1);
    REQUIRE(ledger.flush().ok());
  }
  for (const std::string& end : {bytes_of(state).substr(whole.size(), 3), std::string(5000, '\0'),
                                 std::string("\3garbage"), std::string(300, '\xFF')}) {
    write_file(state / "ledger", whole + end);
    const LedgerImage image = found(state);
    CHECK(image.state == before);
    CHECK(image.size == whole.size());
    CHECK(image.cut == end.size());
    CHECK_FALSE(image.repaired);
    CHECK(bytes_of(state) == whole + end);
    Ledger ledger = opened(state);
    CHECK(bytes_of(state).substr(0, whole.size()) == whole);
    CHECK(ledger.state() == before);
    add_done_pages(ledger, 1);
    REQUIRE(ledger.flush().ok());
    CHECK(found(state).state == ledger.state());
    CHECK(found(state).cut == 0);
  }
}

TEST_CASE("damage below what was synced is refused with its place; --repair cuts there") {
  const TempFolder state;
  LedgerState early;
  uint64_t damage = 0;
  {
    Ledger ledger = created(state);
    add_done_pages(ledger, 3);
    REQUIRE(ledger.flush().ok());
    early = ledger.state();
    damage = fs::file_size(state / "ledger");
    add_done_pages(ledger, 4);
    commit(ledger, state);
  }
  std::string bytes = bytes_of(state);
  bytes[damage + 3] = static_cast<char>(bytes[damage + 3] ^ 4);
  write_file(state / "ledger", bytes);
  Result<std::optional<LedgerImage>> refused = Ledger::read(state.fd());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.failure().code == ErrorCode::malformed);
  CHECK(refused.failure().text.find("byte " + std::to_string(damage)) != std::string::npos);
  CHECK(refused.failure().text.find("--repair") != std::string::npos);
  CHECK_MESSAGE(refused.failure().text.find("the 4 or more files") != std::string::npos,
                refused.failure().text);
  CHECK_FALSE(Ledger::open(state.fd(), false).ok());
  CHECK_MESSAGE(bytes_of(state) == bytes, "nothing is changed unasked");

  Result<std::optional<LedgerImage>> looked = Ledger::read(state.fd(), true);
  REQUIRE(looked.ok());
  CHECK((*looked)->repaired);
  CHECK((*looked)->size == damage);
  CHECK((*looked)->lost_files == 4);
  CHECK(bytes_of(state) == bytes);
  Ledger ledger = opened(state, true);
  CHECK(ledger.state() == early);
  add_done_pages(ledger, 1);
  REQUIRE(ledger.flush().ok());
  CHECK(found(state).state == ledger.state());
}

TEST_CASE("damage to the record that begins a run is no torn end where that run has synced") {
  const TempFolder state;
  created(state);
  const uint64_t damage = fs::file_size(state / "ledger");
  {
    Ledger ledger = opened(state);
    add_done_pages(ledger, 4);
    commit(ledger, state);
  }
  std::string bytes = bytes_of(state);
  bytes[damage + 3] = static_cast<char>(bytes[damage + 3] ^ 4);
  write_file(state / "ledger", bytes);
  const Result<std::optional<LedgerImage>> refused = Ledger::read(state.fd());
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.failure().text.find("byte " + std::to_string(damage)) != std::string::npos);
  CHECK(opened(state, true).state() == LedgerState());
}

TEST_CASE("megabytes behind damage are searched in no time") {
  const TempFolder state;
  created(state);
  const uint64_t damage = fs::file_size(state / "ledger");
  {
    Ledger ledger = opened(state);
    add_done_pages(ledger, 60'000);
    REQUIRE(ledger.flush().ok());
  }
  std::string bytes = bytes_of(state);
  REQUIRE(bytes.size() > 4'000'000);
  bytes[damage + 3] = static_cast<char>(bytes[damage + 3] ^ 4);
  const std::clock_t begin = std::clock();  // of the processor's time, however many want it
  CHECK(recover_ledger(bytes, Surroundings::of_boot(current_boot_id().value()), false).ok());
  // A search that hashes what every byte seems to announce takes a minute.
  CHECK((std::clock() - begin) / CLOCKS_PER_SEC < 10);
}

TEST_CASE("damage above what was synced is a torn end") {
  const TempFolder state;
  LedgerState synced;
  uint64_t damage = 0;
  {
    Ledger ledger = created(state);
    add_done_pages(ledger, 3);
    commit(ledger, state);
    synced = ledger.state();
    damage = fs::file_size(state / "ledger");
    add_done_pages(ledger, 4);
    REQUIRE(ledger.flush().ok());
  }
  std::string bytes = bytes_of(state);
  bytes[damage + 3] = static_cast<char>(bytes[damage + 3] ^ 4);
  write_file(state / "ledger", bytes);
  const LedgerImage image = found(state);
  CHECK(image.state == synced);
  CHECK(image.lost_files == 4);
  CHECK(opened(state).state() == synced);
}

TEST_CASE("a damaged beginning is refused, with --repair too; another format names itself") {
  const TempFolder state;
  {
    Ledger ledger = created(state);
    add_done_pages(ledger, 3);
    commit(ledger, state);
  }
  const std::string whole = bytes_of(state);
  const uint64_t base_end = found(state).base_end;
  for (const uint64_t at : {uint64_t{0}, uint64_t{13}, uint64_t{17}, uint64_t{30}, base_end - 1}) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    write_file(state / "ledger", bytes);
    for (const bool repair : {false, true}) {
      auto refused = Ledger::read(state.fd(), repair);
      REQUIRE_FALSE(refused.ok());
      CHECK(refused.failure().code == ErrorCode::malformed);
      CHECK(refused.failure().text.find("--restart") != std::string::npos);
    }
  }
  std::string bytes = whole;
  bytes[8] = 7;
  write_file(state / "ledger", bytes);
  CHECK(Ledger::read(state.fd()).failure().text.find("format 7") != std::string::npos);
  write_file(state / "ledger", "");
  CHECK_FALSE(Ledger::read(state.fd()).ok());
}

// --- group commit ---

TEST_CASE("after a reboot, what the last sync covered counts; else all") {
  const TempFolder state;
  Ledger ledger = created(state);
  CHECK(ledger.has_unsynced());
  add_done_pages(ledger, 3);
  Result<SyncJob> job = ledger.begin_sync(state.fd());
  REQUIRE(job.ok());
  const LedgerState covered = ledger.state();
  add_done_pages(ledger, 2);  // while the sync is under way
  REQUIRE(job->run().ok());
  CHECK_MESSAGE(found(state, true).state == LedgerState(), "nothing says yet that it is synced");
  REQUIRE(ledger.finish_sync(*job).ok());
  CHECK(found(state).state == ledger.state());
  const LedgerImage image = found(state, true);
  CHECK(image.state == covered);
  CHECK(image.lost_files == 2);
  CHECK(image.cut > 0);
  CHECK(ledger.has_unsynced());
  commit(ledger, state);
  CHECK(found(state, true).state == ledger.state());
  // The record that says so is to be made durable once more; then there is nothing left.
  CHECK(ledger.has_unsynced());
  const uint64_t size = fs::file_size(state / "ledger");
  commit(ledger, state);
  CHECK_FALSE(ledger.has_unsynced());
  CHECK(fs::file_size(state / "ledger") == size);
  PageFacts last = page_of(1);
  ledger.add_page(last);
  CHECK(ledger.has_unsynced());
  commit(ledger, state);
  commit(ledger, state);
  ledger.add_stored(5, {0, 1});
  CHECK_MESSAGE(ledger.has_unsynced(), "what has gathered counts before it is written");
}

TEST_CASE("a ledger that is opened after a reboot keeps what was synced, and says so again") {
  const TempFolder state;
  LedgerState synced;
  {
    Ledger ledger = created(state);
    add_done_pages(ledger, 3);
    commit(ledger, state);
    synced = ledger.state();
    add_done_pages(ledger, 2);
    REQUIRE(ledger.flush().ok());
  }
  move_to_other_boot(state);
  {
    Ledger ledger = opened(state);
    CHECK(ledger.found().distrust == Distrust::reboot);
    CHECK(ledger.found().lost_files == 2);
    CHECK(ledger.state() == synced);
    CHECK(found(state, true).state == synced);
    add_done_pages(ledger, 1);
    REQUIRE(ledger.flush().ok());
    CHECK(found(state).state == ledger.state());
    CHECK_MESSAGE(found(state, true).state == synced, "as if the host were started anew again");
    REQUIRE(ledger.take_back_unsynced().ok());
  }
  CHECK(opened(state).state() == synced);
}

TEST_CASE("a sync that failed takes back what it was to cover, not what an earlier one covered") {
  const TempFolder state;
  Ledger ledger = created(state);
  add_done_pages(ledger, 3);
  commit(ledger, state);
  const LedgerState covered = ledger.state();
  add_done_pages(ledger, 3);
  Result<SyncJob> job = ledger.begin_sync(state.fd());
  REQUIRE(job.ok());
  add_done_pages(ledger, 1);
  REQUIRE(ledger.flush().ok());
  ledger.add_page(page_of(1));
  REQUIRE(ledger.take_back_unsynced().ok());
  CHECK(ledger.flush().ok());
  CHECK(found(state).state == covered);
  CHECK(found(state).cut == 0);
  Ledger next = opened(state);
  CHECK(next.state() == covered);
  add_done_pages(next, 1);
  CHECK_MESSAGE(next.take_back_unsynced().ok(), "its own first sync failed");
  CHECK(found(state).state == covered);
}

TEST_CASE("a run whose first sync fails leaves what an earlier run had synced") {
  const TempFolder state;
  LedgerState covered;
  {
    Ledger ledger = created(state);
    add_done_pages(ledger, 3);
    commit(ledger, state);
    covered = ledger.state();
  }
  Ledger ledger = opened(state);
  add_done_pages(ledger, 3);
  REQUIRE(ledger.begin_sync(state.fd()).ok());
  REQUIRE(ledger.take_back_unsynced().ok());
  CHECK(found(state).state == covered);
}

TEST_CASE("a sync of what is no file system fails") {
  const TempFolder state;
  Ledger ledger = created(state);
  add_done_pages(ledger, 3);
  const int gone = ::dup(state.fd());
  ::close(gone);
  Result<SyncJob> job = ledger.begin_sync(gone);
  REQUIRE(job.ok());
  CHECK_FALSE(job->run().ok());
}

// --- checkpoints ---

TEST_CASE("a ledger that has grown is written anew, small, and says the same") {
  const TempFolder state;
  Ledger ledger = created(state);
  add_failed_page(ledger, "f", {passing(), permanent()});
  PageFacts open = page_of(10, "m");
  open.log_end = ledger.log_end();
  const uint64_t open_page = ledger.add_page(open);
  ledger.add_stored(open_page, {3, 5});
  uint64_t pages = 0;
  while (!ledger.wants_checkpoint()) {
    add_done_pages(ledger, 1'000);
    REQUIRE(ledger.flush().ok());
    pages += 1'000;
    REQUIRE(pages < 100'000);
  }
  const uint64_t before = fs::file_size(state / "ledger");
  CHECK(before > 256 * 1024);
  const LedgerState covered = ledger.state();
  Result<SyncJob> job = ledger.begin_sync(state.fd());
  REQUIRE(job.ok());
  // Recorded while the sync is under way: it must survive the switch to the new file.
  ledger.add_stored(open_page, {0, 3});
  add_done_pages(ledger, 2);
  REQUIRE(ledger.flush().ok());
  ledger.add_stored(open_page, {5, 6});
  REQUIRE(job->run().ok());
  CHECK_MESSAGE(found(state).state.totals().stored == covered.totals().stored + 5,
                "the old ledger counts until the new one is in its place");
  REQUIRE(ledger.finish_sync(*job).ok());

  CHECK(fs::file_size(state / "ledger") < 2'000);
  CHECK_FALSE(stands(state / "ledger.new"));
  CHECK_FALSE(ledger.wants_checkpoint());
  CHECK(ledger.state().totals().stored == covered.totals().stored + 6);
  CHECK(ledger.state().done().size() == 2);
  CHECK(found(state).state == ledger.state());
  CHECK(found(state).identity == kJob);
  CHECK(found(state).job_id == ledger.job_id());
  // After a reboot the checkpoint counts, which is on the device, and not what came since.
  LedgerState rebooted = found(state, true).state;
  CHECK(rebooted.totals() == covered.totals());
  CHECK(rebooted.open() == covered.open());
  CHECK(rebooted.done().empty());

  std::vector<DonePage> done;
  REQUIRE(read_done_pages(state.fd(), ledger.job_id(), ledger.state(), [&](const DonePage& page) {
            done.push_back(page);
          }).ok());
  CHECK(done.size() == pages + 3);
  CHECK(std::vector<DonePage>(done.begin(), done.begin() + static_cast<long>(pages) + 1) ==
        covered.done());
  // And it goes on.
  CHECK(ledger.has_unsynced());
  add_done_pages(ledger, 1);
  commit(ledger, state);
  CHECK(found(state, true).state == ledger.state());
  const LedgerState expected = ledger.state();
  const Ledger next = opened(state);
  CHECK(next.state() == expected);
  done.clear();
  REQUIRE(read_done_pages(state.fd(), next.job_id(), next.state(), [&](const DonePage& page) {
            done.push_back(page);
          }).ok());
  CHECK(done.size() == pages + 4);
  CHECK(dead_letters(next, state) == Names{"f0", "f1"});
}

// --- shards ---

namespace {

using Open = std::map<ShardId, uint64_t>;

// So many names of the page are stored, in so many bytes of a shard.
void store_packed(Ledger& ledger, uint64_t page, IndexRange names, const ShardEnd& end) {
  ledger.add_shard(end);
  ledger.add_stored(page, names);
}

}  // namespace

TEST_CASE("what is stored never stands without the shard that it is in, wherever the file is cut") {
  constexpr uint32_t kBytes = 1000;  // of a name
  const TempFolder state;
  Ledger ledger = created(state);
  const uint64_t page = ledger.add_page(page_of(100, "m"));
  uint32_t stored = 0;
  std::map<uint32_t, uint64_t> ends;  // of each worker's shard
  const auto add = [&](uint32_t worker, uint32_t names) {
    ends[worker] += uint64_t{names} * kBytes;
    store_packed(ledger, page, {stored, stored + names}, {worker, 7, ends[worker], false});
    stored += names;
  };
  for (int i = 0; i < 5; ++i) {
    add(1, 3);
    add(0, 2);
    add(1, 1);
    // Whatever makes records of what has gathered, not a flush alone.
    ledger.add_failed(page, stored, "failed", passing());
    ++stored;
    add(2, 1);
    ledger.add_page(after(ledger, page_of(1, "n")));
    add(1, 2);
    REQUIRE(ledger.flush().ok());
  }
  const std::string bytes = bytes_of(state);
  const uint64_t base = found(state).base_end;
  const std::string boot = current_boot_id().value();
  for (uint64_t cut = base; cut <= bytes.size(); ++cut) {
    const auto image =
        recover_ledger(std::string_view(bytes).substr(0, cut), Surroundings::of_boot(boot), false);
    REQUIRE(image.ok());
    uint64_t kept = 0;
    for (const auto& [id, end] : image.value().state.shards().open())
      kept += end;
    CHECK(image.value().state.totals().stored * kBytes <= kept);
  }
  CHECK(found(state).state.shards().open() ==
        Open{{{0, 7}, ends[0]}, {{1, 7}, ends[1]}, {{2, 7}, ends[2]}});
  CHECK(found(state).state == ledger.state());
}

TEST_CASE("a flush counts whole or not at all, wherever the file is cut") {
  const TempFolder state;
  Ledger ledger = created(state);
  std::vector<std::pair<uint64_t, LedgerState>> flushes = {{bytes_of(state).size(), {}}};
  for (uint32_t i = 0; i < 4; ++i) {
    const uint64_t page = ledger.add_page(after(ledger, page_of(10, "m" + std::to_string(i))));
    ledger.add_stored(page, {0, 5});
    ledger.add_shard({0, 0, 1000 * (i + 1), false});
    ledger.add_shard({1, i, 512, true});
    ledger.add_failed(page, 7, "name", passing());
    REQUIRE(ledger.flush().ok());
    flushes.emplace_back(bytes_of(state).size(), ledger.state());
  }
  const std::string bytes = bytes_of(state), boot = current_boot_id().value();
  for (size_t cut = flushes.front().first; cut <= bytes.size(); ++cut) {
    size_t whole = 0;
    while (whole + 1 < flushes.size() && flushes[whole + 1].first <= cut)
      ++whole;
    const auto image =
        recover_ledger(std::string_view(bytes).substr(0, cut), Surroundings::of_boot(boot), false);
    REQUIRE(image.ok());
    REQUIRE(image.value().size == flushes[whole].first);
    REQUIRE(image.value().state == flushes[whole].second);
  }
}

TEST_CASE("a ledger of format 3 is read record by record, and continued as one of format 4") {
  const TempFolder state;
  const std::string boot = current_boot_id().value();
  // As it was written then: a RUN without places, no record that ends a write.
  std::string run, page, stored, bytes = ledger_base(7, kJob, std::nullopt, "");
  bytes.resize(bytes.size() - (2 + sizeof(uint64_t)));  // that base's RUN
  bytes[8] = 3;
  put_le<uint64_t>(run, 9);
  put_sized(run, boot);
  append_record(bytes, bytes.size(), 7, static_cast<uint8_t>(LedgerRecord::run), run);
  put_facts(page, page_of(3, "m"));
  append_record(bytes, bytes.size(), 9, static_cast<uint8_t>(LedgerRecord::page), page);
  put_varint(stored, 0);
  put_ranges(stored, {{0, 2}});
  put_varint(stored, 20);
  put_hash(stored, {1, 2});
  append_record(bytes, bytes.size(), 9, static_cast<uint8_t>(LedgerRecord::stored), stored);
  write_file(state / "ledger", bytes + "torn");
  write_file(state / "failures", "");
  const LedgerImage image = found(state);
  CHECK(image.version == 3);
  CHECK(image.size == bytes.size());
  CHECK(image.state.totals().stored == 2);
  CHECK_FALSE(image.last_run.state.known());
  {
    Ledger ledger = opened(state);
    CHECK(ledger.state() == image.state);
    ledger.add_stored(0, {2, 3});
    REQUIRE(ledger.flush().ok());
    commit(ledger, state);
  }
  CHECK(bytes_of(state)[8] == 4);
  CHECK(found(state).state.totals().stored == 3);
  CHECK(found(state).last_run.state.known());
  CHECK(found(state, true).state.totals().stored == 3);
}

TEST_CASE("a folder mounted anew, an I/O error and a copy leave what was synced, once") {
  for (const std::string why : {"mount", "error", "copy"}) {
    const TempFolder state, output;
    LedgerState synced;
    {
      Result<Ledger> ledger = Ledger::create(state.fd(), kJob, output.fd());
      REQUIRE(ledger.ok());
      add_done_pages(*ledger, 3);
      commit(*ledger, output);
      synced = ledger->state();
      add_done_pages(*ledger, 2);
      REQUIRE(ledger->flush().ok());
    }
    const TempFolder other;
    if (why == "error") note_io_error(state.fd());
    // A folder that is not the one recorded; one that is not looked at, as if it were mounted anew.
    const int output_fd = why == "copy" ? other.fd() : why == "mount" ? -1 : output.fd();
    const Distrust expected = why == "copy"    ? Distrust::copied
                              : why == "mount" ? Distrust::remount
                                               : Distrust::io_error;
    Result<std::optional<Ledger>> next = Ledger::open(state.fd(), false, output_fd);
    REQUIRE(next.ok());
    CHECK((*next)->found().distrust == expected);
    CHECK((*next)->found().lost_files == 2);
    CHECK((*next)->state() == synced);
    CHECK_FALSE(has_io_error_note(state.fd()));
    add_done_pages(**next, 1);
    REQUIRE((*next)->flush().ok());
    Result<std::optional<LedgerImage>> again = Ledger::read(state.fd(), false, output_fd);
    REQUIRE(again.ok());
    CHECK((*again)->distrust == Distrust::none);
    CHECK((*again)->state == (*next)->state());
  }
}

TEST_CASE("ends that come between two flushes are one record a shard") {
  const TempFolder state;
  Ledger ledger = created(state);
  const uint64_t page = ledger.add_page(page_of(10'000, "m"));
  REQUIRE(ledger.flush().ok());
  const uint64_t before = fs::file_size(state / "ledger");
  for (uint32_t i = 0; i < 9'000; ++i)
    store_packed(ledger, page, {i, i + 1}, {i % 3, 0, 1000 + i, false});
  CHECK(ledger.has_unsynced());
  CHECK(ledger.state().shards().empty());
  REQUIRE(ledger.flush().ok());
  CHECK(fs::file_size(state / "ledger") < before + 128);
  CHECK(found(state).state.shards().open() == Open{{{0, 0}, 9997}, {{1, 0}, 9998}, {{2, 0}, 9999}});
}

TEST_CASE("after a reboot a shard ends where it did at the last sync; unfinished, if so") {
  const TempFolder state;
  Ledger ledger = created(state);
  const uint64_t page = ledger.add_page(page_of(100, "m"));
  store_packed(ledger, page, {0, 1}, {0, 0, 1000, false});
  store_packed(ledger, page, {1, 2}, {1, 0, 5000, true});
  commit(ledger, state);
  store_packed(ledger, page, {2, 3}, {0, 0, 2000, true});
  store_packed(ledger, page, {3, 4}, {0, 1, 500, false});
  REQUIRE(ledger.flush().ok());
  CHECK(found(state).state.shards().open() == Open{{{0, 1}, 500}});
  const ShardEnds shards = found(state, true).state.shards();
  CHECK(shards.open() == Open{{{0, 0}, 1000}});
  CHECK(shards.is_finished({1, 0}));
  CHECK_FALSE(shards.is_finished({0, 0}));
  move_to_other_boot(state);
  CHECK(opened(state).state().shards() == shards);
}

TEST_CASE("ends of a failed sync are taken back, those that wait to be written too") {
  const TempFolder state;
  Ledger ledger = created(state);
  const uint64_t page = ledger.add_page(page_of(100, "m"));
  store_packed(ledger, page, {0, 1}, {0, 0, 1000, false});
  commit(ledger, state);
  store_packed(ledger, page, {1, 2}, {0, 0, 2000, false});
  REQUIRE(ledger.flush().ok());
  ledger.add_shard({0, 0, 3000, false});
  REQUIRE(ledger.take_back_unsynced().ok());
  CHECK(ledger.flush().ok());
  CHECK(found(state).state.shards().open() == Open{{{0, 0}, 1000}});
}

TEST_CASE("an end that contradicts the ledger makes the flush fail") {
  const std::vector<std::vector<ShardEnd>> wrong = {
      {{0, 0, 999, false}},                       // less than is recorded
      {{0, 0, 3000, false}, {0, 0, 2999, true}},  // less than is gathered
      {{0, 0, 3000, true}, {0, 0, 4000, false}},  // behind its end
      {{0, 1, 9000, false}},                      // finished in the ledger
      {{0, UINT32_MAX, 1, false}}};
  for (const std::vector<ShardEnd>& ends : wrong) {
    const TempFolder state;
    Ledger ledger = created(state);
    ledger.add_shard({0, 0, 1000, false});
    ledger.add_shard({0, 1, 1000, true});
    REQUIRE(ledger.flush().ok());
    const LedgerState before = ledger.state();
    for (const ShardEnd& end : ends)
      ledger.add_shard(end);
    CHECK_FALSE(ledger.flush().ok());
    CHECK(found(state).state == before);
  }
}

TEST_CASE(
    "a ledger that is written anew keeps the shards, and those of a listing begun anew stay") {
  const TempFolder state;
  Ledger ledger = created(state);
  const uint64_t page = ledger.add_page(page_of(10, "m"));
  store_packed(ledger, page, {0, 1}, {0, 3, 1000, false});
  for (uint32_t number = 0; number < 3; ++number)
    ledger.add_shard({0, number, 1 << 30, true});
  while (!ledger.wants_checkpoint()) {
    add_done_pages(ledger, 1'000);
    REQUIRE(ledger.flush().ok());
  }
  Result<SyncJob> job = ledger.begin_sync(state.fd());
  REQUIRE(job.ok());
  store_packed(ledger, page, {1, 2}, {0, 3, 2000, false});  // while the sync is under way
  REQUIRE(job->run().ok());
  REQUIRE(ledger.finish_sync(*job).ok());
  REQUIRE(fs::file_size(state / "ledger") < 2'000);
  CHECK(found(state).state == ledger.state());
  CHECK(found(state).state.shards().open() == Open{{{0, 3}, 2000}});
  CHECK(found(state, true).state.shards().open() == Open{{{0, 3}, 1000}});
  const ShardEnds before = ledger.state().shards();
  ledger.relist();
  REQUIRE(ledger.flush().ok());
  CHECK(found(state).state.shards() == before);
  CHECK(opened(state).state().shards().next_number(0) == 4);
}

TEST_CASE("a ledger is written anew again and again, over many runs") {
  const TempFolder state;
  created(state);
  uint64_t pages = 0, switches = 0;
  for (int run = 0; run < 3; ++run) {
    Ledger ledger = opened(state);
    CHECK(ledger.state().totals().pages == pages);
    for (int part = 0; part < 12; ++part) {
      add_done_pages(ledger, 1'500);
      pages += 1'500;
      REQUIRE(ledger.flush().ok());
      const uint64_t before = fs::file_size(state / "ledger");
      commit(ledger, state);
      switches += fs::file_size(state / "ledger") < before ? 1 : 0;
    }
  }
  CHECK(switches >= 6);
  CHECK(fs::file_size(state / "ledger") < 600 * 1024);
  const Ledger ledger = opened(state);
  uint64_t number = 0;
  REQUIRE(read_done_pages(state.fd(), ledger.job_id(), ledger.state(), [&](const DonePage& page) {
            CHECK(page.number == number++);
          }).ok());
  CHECK(number == pages);
  CHECK(ledger.state().totals().stored == pages);
}

TEST_CASE("a switch that fails leaves the old ledger in its place") {
  const TempFolder state;
  Ledger ledger = created(state);
  while (!ledger.wants_checkpoint()) {
    add_done_pages(ledger, 1'000);
    REQUIRE(ledger.flush().ok());
  }
  Result<SyncJob> job = ledger.begin_sync(state.fd());
  REQUIRE(job.ok());
  SUBCASE("because the new one cannot be made") {
    fs::create_directory(state / "ledger.new");
    CHECK_FALSE(job->run().ok());
  }
  SUBCASE("because the archive cannot be written") {
    fs::create_directory(state / "pages");
    CHECK_FALSE(job->run().ok());
  }
  SUBCASE("because it has vanished") {
    REQUIRE(job->run().ok());
    fs::remove(state / "ledger.new");
    CHECK_FALSE(ledger.finish_sync(*job).ok());
  }
  CHECK(found(state).state == ledger.state());
  REQUIRE(ledger.take_back_unsynced().ok());
  CHECK(found(state).state == LedgerState());
}

TEST_CASE("a ledger.new of a run that died is of no account") {
  const TempFolder state;
  LedgerState expected;
  {
    Ledger ledger = created(state);
    while (!ledger.wants_checkpoint()) {
      add_done_pages(ledger, 1'000);
      REQUIRE(ledger.flush().ok());
    }
    Result<SyncJob> job = ledger.begin_sync(state.fd());
    REQUIRE(job.ok());
    REQUIRE(job->run().ok());
    add_done_pages(ledger, 1);
    REQUIRE(ledger.flush().ok());
    expected = ledger.state();
  }
  REQUIRE(stands(state / "ledger.new"));
  Ledger ledger = opened(state);
  CHECK(ledger.state() == expected);
  commit(ledger, state);
  CHECK(found(state).state == ledger.state());
  uint64_t pages = 0;
  REQUIRE(read_done_pages(state.fd(), ledger.job_id(), ledger.state(), [&](const DonePage& page) {
            CHECK(page.number == pages++);
          }).ok());
  CHECK(pages == expected.done().size());
}

// --- failures ---

TEST_CASE("a failure stands until its name is stored, whatever the stage of its retry page") {
  const TempFolder state;
  Ledger ledger = created(state);
  CHECK(dead_letters(ledger, state).empty());
  add_failed_page(ledger, "a", {passing(), permanent(), rejection(), passing(), passing()});
  const Names all = {"a0", "a1", "a2", "a3", "a4"};
  CHECK(dead_letters(ledger, state) == all);

  const std::optional<uint64_t> page = add_retries(ledger, false, ledger.log_end());
  REQUIRE(page.has_value());
  CHECK(ledger.state().open().at(*page).facts.names == 3);
  CHECK_MESSAGE(dead_letters(ledger, state) == all, "they have not arrived yet");
  ledger.add_stored(*page, {1, 2});
  REQUIRE(ledger.flush().ok());
  CHECK(dead_letters(ledger, state) == Names{"a0", "a1", "a2", "a4"});
  ledger.add_failed(*page, 2, "a4", passing());
  REQUIRE(ledger.flush().ok());
  const Names once = {"a0", "a1", "a2", "a4"};
  CHECK_MESSAGE(dead_letters(ledger, state) == once, "once, not twice");
  CHECK(dead_letters(opened(state), state) == Names{"a0", "a1", "a2", "a4"});
  CHECK(balanced(ledger.state()));
}

TEST_CASE("retries end with the run's limit, and the next run tries again what failed again") {
  const TempFolder state;
  {
    Ledger ledger = created(state);
    add_failed_page(ledger, "a", {passing(), permanent(), passing(), rejection()});
    const uint64_t limit = ledger.log_end();
    const std::optional<uint64_t> page = add_retries(ledger, false, limit);
    REQUIRE(page.has_value());
    ledger.add_failed(*page, 0, "a0", passing());
    ledger.add_failed(*page, 1, "a2", permanent());
    REQUIRE(ledger.flush().ok());
    CHECK_FALSE(add_retries(ledger, false, limit).has_value());
    CHECK_FALSE_MESSAGE(ledger.state().all_settled(), "the listing has not ended");
    CHECK(ledger.state().open().empty());
    CHECK(dead_letters(ledger, state) == Names{"a1", "a3", "a0", "a2"});
    CHECK(ledger.state().totals().failed == 3);
  }
  Ledger ledger = opened(state);
  auto plan = ledger.plan_retry(false, ledger.log_end(), 1000);
  REQUIRE(plan.ok());
  REQUIRE(plan->has_value());
  CHECK(retry_names(ledger, (*plan)->range) == Names{"a0"});
  auto with_permanent = ledger.plan_retry(true, ledger.log_end(), 1000);
  REQUIRE(with_permanent.ok());
  REQUIRE(with_permanent->has_value());
  CHECK(retry_names(ledger, (*with_permanent)->range) == Names{"a1", "a0", "a2"});
}

TEST_CASE("permanent failures are tried again only where that is asked for, each once") {
  const TempFolder state;
  Ledger ledger = created(state);
  add_failed_page(ledger, "p", {permanent(), permanent(), rejection()});
  CHECK_FALSE(add_retries(ledger, false, ledger.log_end()).has_value());
  const uint64_t limit = ledger.log_end();
  const std::optional<uint64_t> page = add_retries(ledger, true, limit);
  REQUIRE(page.has_value());
  CHECK(ledger.state().open().at(*page).facts.names == 2);
  CHECK_FALSE(add_retries(ledger, true, limit).has_value());
  ledger.add_stored(*page, {0, 1});
  ledger.add_failed(*page, 1, "p1", rejection());
  REQUIRE(ledger.flush().ok());
  CHECK(dead_letters(ledger, state) == Names{"p2", "p1"});
  CHECK(ledger.state().totals().failed == 0);
  CHECK(ledger.state().totals().rejected == 2);
  CHECK_FALSE_MESSAGE(add_retries(ledger, true, ledger.log_end()).has_value(),
                      "a name that is refused is never tried");
}

TEST_CASE("many retries come in pages of some names, in their order, none of them twice") {
  const TempFolder state;
  Ledger ledger = created(state);
  Names passing_names, all_names;
  for (int part = 0; part < 5; ++part) {
    std::vector<FileFailure> failures;
    const std::string prefix = std::to_string(part) + "-";
    for (int i = 0; i < 100; ++i) {
      const std::string name = prefix + std::to_string(i);
      failures.push_back(i % 3 == 0 ? permanent() : i % 7 == 0 ? rejection() : passing());
      if (i % 3 != 0 && i % 7 == 0) continue;
      all_names.push_back(name);
      if (i % 3 != 0) passing_names.push_back(name);
    }
    add_failed_page(ledger, prefix, failures);
  }
  const uint64_t limit = ledger.log_end();
  const auto take_all = [&](bool permanent_too, uint32_t names) {
    Names taken;
    while (const std::optional<uint64_t> page = add_retries(ledger, permanent_too, limit, names)) {
      const OpenPage& open = ledger.state().open().at(*page);
      CHECK(open.facts.names <= names);
      for (const std::string& name : retry_names(ledger, *open.retry))
        taken.push_back(name);
      // They fail again.
      for (uint32_t i = 0; i < open.facts.names; ++i)
        ledger.add_failed(*page, i, taken[taken.size() - open.facts.names + i], passing());
      REQUIRE(ledger.flush().ok());
    }
    return taken;
  };
  CHECK(take_all(false, 37) == passing_names);
  Names permanent_names;
  for (const std::string& name : all_names) {
    if (std::find(passing_names.begin(), passing_names.end(), name) == passing_names.end()) {
      permanent_names.push_back(name);
    }
  }
  CHECK(take_all(true, 11) == permanent_names);
  CHECK(ledger.state().totals().failed == all_names.size());
  CHECK(dead_letters(ledger, state).size() ==
        ledger.state().totals().failed + ledger.state().totals().rejected);
  CHECK(opened(state).state().totals() == ledger.state().totals());
}

TEST_CASE("the failures of several pages that come at once are each their page's") {
  const TempFolder state;
  Ledger ledger = created(state);
  ledger.add_page(page_of(3, "m"));
  ledger.add_page(page_of(3, "n"));
  for (uint32_t i = 0; i < 3; ++i) {
    ledger.add_failed(0, i, "a" + std::to_string(i), passing());
    ledger.add_failed(1, i, "b" + std::to_string(i), i == 1 ? rejection() : passing());
  }
  REQUIRE(ledger.flush().ok());
  CHECK(ledger.state().totals().failed == 5);
  CHECK(ledger.state().totals().rejected == 1);
  CHECK(dead_letters(ledger, state) == Names{"a0", "b0", "a1", "b1", "a2", "b2"});
  CHECK(found(state).state == ledger.state());
}

TEST_CASE("failures of a listing that was begun anew stand no longer") {
  const TempFolder state;
  Ledger ledger = created(state);
  add_failed_page(ledger, "old", {passing(), rejection(), permanent()});
  ledger.relist();
  REQUIRE(ledger.flush().ok());
  CHECK(dead_letters(ledger, state).empty());
  CHECK_FALSE(add_retries(ledger, true, ledger.log_end()).has_value());
  add_failed_page(ledger, "new", {passing()});
  CHECK(dead_letters(ledger, state) == Names{"new0"});
  CHECK(add_retries(ledger, false, ledger.log_end()).has_value());
}

TEST_CASE("failures that no record of the ledger speaks of are cut when it is opened") {
  const TempFolder state;
  std::string before;
  {
    Ledger ledger = created(state);
    add_failed_page(ledger, "a", {passing()});
    before = bytes_of(state);
    add_failed_page(ledger, "b", {passing()});
  }
  write_file(state / "ledger", before);
  Ledger ledger = opened(state);
  CHECK(dead_letters(ledger, state) == Names{"a0"});
  add_failed_page(ledger, "c", {passing()});
  CHECK(dead_letters(ledger, state) == Names{"a0", "c0"});
}

TEST_CASE("failures that are missing or damaged are told, and nothing is passed over") {
  const TempFolder state;
  {
    Ledger ledger = created(state);
    add_failed_page(ledger, "a", {passing(), passing()});
  }
  const std::string whole = read_file(state / "failures");
  std::string damaged = whole;
  damaged[whole.size() / 2] = static_cast<char>(damaged[whole.size() / 2] ^ 1);
  write_file(state / "failures", damaged);
  {
    const Ledger ledger = opened(state);
    CHECK(ledger.write_dead_letters("failed.jsonl").failure().code == ErrorCode::malformed);
    CHECK_FALSE(stands(state / "failed.jsonl"));
    CHECK_FALSE(ledger.plan_retry(false, ledger.log_end(), 10).ok());
  }
  fs::remove(state / "failures");
  Result<std::optional<Ledger>> refused = Ledger::open(state.fd(), false);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.failure().code == ErrorCode::malformed);
}

TEST_CASE("failures outlive a ledger that is written anew, and a name as long as a page") {
  const TempFolder state;
  Ledger ledger = created(state);
  const std::string giant(3 << 20, 'g');
  ledger.log_failure(giant, {FailureClass::name_too_long, 0, 0, "long"});
  PageFacts facts = page_of(0, "m");
  facts.listed = facts.rejected = 1;
  facts.log_end = ledger.log_end();
  ledger.add_page(facts);
  add_failed_page(ledger, "a", {passing(), permanent()});
  while (!ledger.wants_checkpoint()) {
    add_done_pages(ledger, 1'000);
    REQUIRE(ledger.flush().ok());
  }
  commit(ledger, state);
  CHECK(fs::file_size(state / "ledger") < 2'000);
  const LedgerState expected = ledger.state();
  Ledger next = opened(state);
  CHECK(next.state() == expected);
  CHECK(dead_letters(next, state) == Names{giant, "a0", "a1"});
  CHECK(add_retries(next, false, next.log_end()).has_value());
}

}  // namespace gigafetch::store
