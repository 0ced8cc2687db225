#include "store/name_rules.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>
#include <vector>

#include "base/unique_fd.h"
#include "store/directory_cache.h"
#include "store/directory_stream.h"
#include "store/job_identity.h"
#include "store/layout.h"

namespace gigafetch::store {
namespace {

constexpr char kProbeFolder[] = "names";
constexpr std::string_view kPlainName = "gigafetch-tries-a-plain-name.txt";
// Those that one file system or another refuses; control bytes are never in a path.
constexpr std::string_view kDoubtful = ":?*<>|\"\\";
constexpr std::string_view kAdvice = "--sink tar takes them all, no --layout does";
constexpr size_t kEntriesLookedAt = 1000;

// Files of other names may stand at a path, as far as one knows.
NameRules untried() {
  NameRules rules;
  rules.tried = false;
  rules.folds_case = true;
  return rules;
}

// Says nothing about the name that was to be created.
bool is_of_the_moment(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EROFS:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EINTR:
      return true;
    default:
      return false;
  }
}

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}

bool ends_doubtfully(std::string_view component) {
  return !component.empty() && (component.back() == '.' || component.back() == ' ');
}

// The names in a folder.
std::optional<std::set<std::string>> names_in(int folder_fd, size_t most) {
  const DirectoryStream dir =
      open_stream(UniqueFd(::openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (dir == nullptr) return std::nullopt;
  std::set<std::string> names;
  while (names.size() < most) {
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    names.emplace(entry->d_name);
  }
  names.erase(".");
  names.erase("..");
  return names;
}

void remove_entries(int folder_fd) {
  const std::optional<std::set<std::string>> left = names_in(folder_fd, SIZE_MAX);
  if (!left) return;
  for (const std::string& name : *left)
    ::unlinkat(folder_fd, name.c_str(), 0);
}

// The folder in which names are tried: OUT/.gigafetch/names. Removed with all that is in it, and
// OUT/.gigafetch too when nothing else is there.
class ProbeFolder {
 public:
  explicit ProbeFolder(int output_fd) : output_fd_(output_fd) {
    const std::string state(kStateFolderName);
    ::mkdirat(output_fd, state.c_str(), 0700);
    state_.reset(open_beneath(output_fd, state.c_str(), O_PATH | O_DIRECTORY));
    if (!state_) return;
    ::mkdirat(state_.get(), kProbeFolder, 0700);
    folder_.reset(open_beneath(state_.get(), kProbeFolder, O_RDONLY | O_DIRECTORY));
    if (folder_) remove_entries(folder_.get());
  }
  ~ProbeFolder() {
    if (folder_) remove_entries(folder_.get());
    if (state_) ::unlinkat(state_.get(), kProbeFolder, AT_REMOVEDIR);
    // Fails where it is the state folder, which holds the lock.
    ::unlinkat(output_fd_, std::string(kStateFolderName).c_str(), AT_REMOVEDIR);
  }
  ProbeFolder(const ProbeFolder&) = delete;
  ProbeFolder& operator=(const ProbeFolder&) = delete;

  bool ok() const { return static_cast<bool>(folder_); }
  int fd() const { return folder_.get(); }

 private:
  int output_fd_;
  UniqueFd state_;
  UniqueFd folder_;
};

class Probe {
 public:
  explicit Probe(int folder_fd) : folder_fd_(folder_fd) {}

  Result<NameRules> run() {
    if (make(kPlainName) != 0) return untried();
    if (create(kPlainName) != EEXIST) {
      return error(ErrorCode::io,
                   "the output's file system does not heed O_EXCL: files of two names could "
                   "replace each other; use --sink tar, or another file system");
    }
    try_folding();
    try_refusals();
    try_length();
    const std::optional<std::set<std::string>> listed = names_in(folder_fd_, SIZE_MAX);
    if (!listed || gave_up_) return untried();
    if (!listed->contains(std::string(kPlainName))) {
      return error(ErrorCode::io,
                   "the output's file system does not keep names as they are (not even '{}'); use "
                   "--sink tar, or another file system",
                   kPlainName);
    }
    for (const std::string& name : made_)
      rules_.respells = rules_.respells || !listed->contains(name);
    return rules_;
  }

 private:
  // The errno of creating the file `name`; 0 when it is there now.
  int create(std::string_view name) {
    const std::string file(name);
    const UniqueFd fd(::openat(folder_fd_, file.c_str(),
                               O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return errno;
    made_.push_back(file);
    return 0;
  }

  // The same, and asks twice: a disk's hiccup is no rule.
  int make(std::string_view name) {
    if (gave_up_ || create(name) == 0) return 0;
    const int failed = create(name);
    gave_up_ = is_of_the_moment(failed);
    return gave_up_ ? 0 : failed;
  }

  bool is_there(const char* name) const {
    struct stat there;
    return ::fstatat(folder_fd_, name, &there, AT_SYMLINK_NOFOLLOW) == 0;
  }

  void try_folding() {
    make("case");
    make("UPPER");
    rules_.ascii_only = make("caf\u00e9") != 0;
    rules_.folds_case = is_there("CASE") || is_there("upper") || is_there("CAF\u00c9");
    rules_.folds_form = is_there("cafe\u0301");
    make("norme\u0301");
    rules_.folds_form = rules_.folds_form || is_there("norm\u00e9");
  }

  void try_refusals() {
    for (const char* name : {"dot.", "space "}) {
      const int failed = make(name);
      rules_.refuses_end = rules_.refuses_end || failed != 0;
      rules_.trims = rules_.trims || is_there(std::string(name, std::strlen(name) - 1).c_str());
    }
    for (const char c : kDoubtful) {
      if (make(fmt::format("with{}in", c)) != 0) rules_.refused += c;
    }
  }

  // The longest that is taken, by halving.
  void try_length() {
    uint32_t taken = static_cast<uint32_t>(kPlainName.size());
    uint32_t tried = NameRules::kLongestName;
    uint32_t refused = tried + 1;
    while (taken + 1 < refused) {
      (make(std::string(tried, 'n')) == 0 ? taken : refused) = tried;
      tried = (taken + refused) / 2;
    }
    rules_.longest = taken;
  }

  int folder_fd_;
  NameRules rules_;
  std::vector<std::string> made_;
  bool gave_up_ = false;  // something fails that has nothing to do with names
};

// Whether a name that is there is found in another case, too.
bool is_seen_to_fold(int output_fd) {
  const std::optional<std::set<std::string>> names = names_in(output_fd, kEntriesLookedAt);
  if (!names) return false;
  for (const std::string& name : *names) {
    std::string other = name;
    for (char& c : other)
      c = is_lower(c) ? static_cast<char>(c - 'a' + 'A') : c;
    struct stat there;
    if (other == name || names->contains(other)) continue;
    return ::fstatat(output_fd, other.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
  }
  return false;
}

}  // namespace

bool NameRules::may_respell(std::string_view component) const {
  if (!respells && !trims) return false;
  return ends_doubtfully(component) || !is_ascii(component) ||
         std::ranges::none_of(component, is_lower);
}

bool NameRules::refuses(std::string_view path) const {
  if (ascii_only && !is_ascii(path)) return true;
  if (path.find_first_of(refused) != path.npos) return true;
  if (!refuses_end) return false;
  for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
    if (ends_doubtfully(path.substr(0, slash))) return true;
  }
  return ends_doubtfully(path);
}

std::string encode_rules(const NameRules& rules) {
  if (!rules.tried) return {};
  std::string text;
  const auto add = [&text](bool holds, std::string_view word) {
    if (holds) text.append(text.empty() ? "" : " ").append(word);
  };
  add(rules.folds_case, "case");
  add(rules.folds_form, "form");
  add(rules.trims, "trims");
  add(rules.respells, "respells");
  add(rules.ascii_only, "ascii");
  add(rules.refuses_end, "end");
  add(!rules.refused.empty(), "refused=" + rules.refused);
  add(rules.longest != NameRules::kLongestName, fmt::format("longest={}", rules.longest));
  return text.empty() ? "apart" : text;
}

std::optional<NameRules> decode_rules(std::string_view text) {
  if (text.empty()) return std::nullopt;
  NameRules rules;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    constexpr std::string_view kRefused = "refused=", kLongest = "longest=";
    if (word == "case") rules.folds_case = true;
    if (word == "form") rules.folds_form = true;
    if (word == "trims") rules.trims = true;
    if (word == "respells") rules.respells = true;
    if (word == "ascii") rules.ascii_only = true;
    if (word == "end") rules.refuses_end = true;
    if (word.starts_with(kRefused)) rules.refused = word.substr(kRefused.size());
    if (word.starts_with(kLongest)) {
      const std::string_view number = word.substr(kLongest.size());
      std::from_chars(number.data(), number.data() + number.size(), rules.longest);
    }
  }
  return rules;
}

std::string describe(const NameRules& rules) {
  if (!rules.tried) return {};
  std::string folded, refused;
  const auto add = [](std::string& text, bool holds, std::string_view what) {
    if (holds) text.append(text.empty() ? "" : ", ").append(what);
  };
  add(folded, rules.folds_case, "in capitals (README, Readme)");
  add(folded, rules.folds_form, "in the Unicode form of an accent");
  add(folded, rules.trims, "in a dot or a space at the end");
  add(refused, rules.ascii_only, "that are not ASCII");
  add(refused, !rules.refused.empty(), fmt::format("with one of {}", rules.refused));
  add(refused, rules.refuses_end, "with a dot or a space at the end");
  add(refused, rules.longest != NameRules::kLongestName,
      fmt::format("with a part of over {} bytes", rules.longest));
  add(refused, rules.respells, "that it would spell in another way");
  std::string text;
  if (!folded.empty()) {
    text = fmt::format(
        "takes names for one that differ {}: of such, whichever comes second fails with "
        "name-conflict",
        folded);
  }
  if (!refused.empty()) {
    text += fmt::format("{}refuses names {}: these fail", text.empty() ? "" : "; it ", refused);
  }
  if (text.empty()) return text;
  return fmt::format("the output's file system {} ({})", text, kAdvice);
}

Result<NameRules> probe_names(int output_fd) {
  const ProbeFolder folder(output_fd);
  if (!folder.ok()) return untried();
  return Probe(folder.fd()).run();
}

NameRules rules_for_reading(int output_fd, const JobIdentity& identity) {
  NameRules rules = decode_rules(identity.names).value_or(NameRules());
  rules.folds_case = rules.folds_case || is_seen_to_fold(output_fd);
  return rules;
}

}  // namespace gigafetch::store
