// The exit status of the program: a contract with scripts and with systemd.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace gigafetch {

enum class ExitStatus : uint8_t {
  complete = 0,     // all that was listed is stored
  fatal = 1,        // the run could not go on; the text says why
  usage = 2,        // the command line is wrong
  failures = 3,     // finished, but some files are not stored: failed.jsonl names them
  interrupted = 4,  // stopped on request before the end
};

inline ExitStatus exit_status_of(ErrorCode code) {
  if (code == ErrorCode::usage) return ExitStatus::usage;
  if (code == ErrorCode::interrupted) return ExitStatus::interrupted;
  return ExitStatus::fatal;
}

}  // namespace gigafetch
