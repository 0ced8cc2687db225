// The commands. Each does its work and returns the program's exit status; errors have been printed.
#pragma once

#include "base/exit_status.h"
#include "cli/options.h"

namespace gigafetch::cli {

ExitStatus fetch_command(const FetchOptions& options);
ExitStatus ls_command(const ListOptions& options);
ExitStatus verify_command(const VerifyOptions& options);
ExitStatus cat_command(const CatOptions& options);
ExitStatus origin_command(const OriginServiceOptions& options);
ExitStatus demo_command(const DemoOptions& options);

}  // namespace gigafetch::cli
