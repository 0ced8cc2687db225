// NameRules: what the output's file system does with names, as far as files are concerned.
//
// ext4, xfs and most others keep any two names apart. vfat, exfat, cifs, ntfs, a folder of ext4 or
// f2fs with casefold, zfs with its case or normalization settings, and many a FUSE do not, or take
// fewer names than a layout makes (store/layout.h). No layout avoids that: flat and fanout have
// leaves that fold, too. Packed output does. The rules are found by trying, not by the kind of file
// system, for mount options and servers decide.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace gigafetch::store {

struct JobIdentity;

struct NameRules {
  bool tried = true;  // false: nothing is known, and the worst is assumed where it costs little
  bool folds_case = false;  // takes `Readme` for `README`
  bool folds_form = false;  // takes a letter with its accent for the two characters
  bool trims = false;       // takes `a.` or `a ` for `a`
  // Stores some names in another spelling than they were given: such with bytes that are not ASCII,
  // without small letters, or with a dot or a space at the end.
  bool respells = false;
  bool ascii_only = false;          // refuses other names
  bool refuses_end = false;         // refuses a dot or a space at the end
  std::string refused;              // characters that it refuses
  uint32_t longest = kLongestName;  // bytes of a component

  static constexpr uint32_t kLongestName = 255;
  bool operator==(const NameRules&) const = default;

  // Whether two names may be one file: whatever stands at a path may be another name's.
  bool folds() const { return folds_case || folds_form || trims || respells; }
  // Whether this component may be stored in another spelling.
  bool may_respell(std::string_view component) const;
  // Whether the path holds something that was refused when it was tried.
  bool refuses(std::string_view path) const;
};

// The rules as they are recorded: words, "apart" when there is nothing to say, an empty text for
// what was not tried; and back.
std::string encode_rules(const NameRules& rules);
std::optional<NameRules> decode_rules(std::string_view text);

// What the rules mean for the operator, a sentence each, and which sink avoids it; empty when there
// is nothing to say.
std::string describe(const NameRules& rules);

// Tries names in a folder of its own, where the state folder is or would be, and removes it again:
// what a run that was killed meanwhile leaves behind, the next one removes. Fails when files cannot
// be stored at all: O_EXCL is not heeded, or plain long names are not kept. Where
// nothing can be tried (a full disk) the rules say so: whoever stores there will meet the reason.
Result<NameRules> probe_names(int output_fd);

// The rules for who only reads what the job has stored: those recorded, and whatever the folder
// shows without being written to, for it may have been moved.
NameRules rules_for_reading(int output_fd, const JobIdentity& identity);

}  // namespace gigafetch::store
