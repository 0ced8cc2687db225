// From options to a job: what fetch and verify have in common before they start.
#pragma once

#include <optional>
#include <string>

#include "cli/options.h"
#include "store/job_identity.h"
#include "store/state_folder.h"
#include "supervisor/supervisor.h"

namespace gigafetch::cli {

// How to list the origin named by `options`. Fails (usage) on a bad URL or header, and when the
// bearer file cannot be read.
Result<coordinator::ListingSettings> listing_settings(const OriginOptions& options);

coordinator::Filter filter_of(const FilterOptions& options);

// The settings of a job that has `listing`. Raises the descriptor limit; when it stays too low,
// uses fewer connections and says so.
Result<supervisor::Job> make_job(const coordinator::ListingSettings& listing,
                                 const OriginOptions& origin, const WorkerOptions& worker,
                                 const ReportOptions& report);

// The state folder of OUT: the one given, or OUT/.gigafetch. Refuses (usage) any other place inside
// OUT: names could reach it there.
Result<std::string> state_path(const std::string& out, const std::string& given);

// What the ledger in `state` records of OUT (store::JobIdentity::output).
std::string recorded_output(const std::string& out, const std::string& state);

}  // namespace gigafetch::cli
