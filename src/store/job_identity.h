// JobIdentity: what makes two runs the same job.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gigafetch::store {

// What a job has whose ledger says nothing of it.
inline constexpr std::string_view kPlainEncoding = "refuse";

// Workers, depth, batch size, limits and timeouts are no part of it: they may differ between runs.
struct JobIdentity {
  std::string url;  // canonical
  std::string api;
  std::string sink;
  std::string layout;
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  // The output folder's path where the state folder lies elsewhere; empty where it lies inside and
  // may move with it.
  std::string output = {};
  // What the output's file system does with names (store/name_rules.h); empty where it is not
  // known: of a job that is packed, or was begun before this was recorded.
  std::string names = {};
  // --content-encoding: the same answers are other files with another.
  std::string content_encoding = std::string(kPlainEncoding);
  bool operator==(const JobIdentity&) const = default;
};

// The first difference in words ("the URL was X, now it is Y"); empty when there is none. Of the
// names it is one when they were kept apart and are not any more: files have gone with the copy.
std::string difference(const JobIdentity& recorded, const JobIdentity& wanted);

// The identity as a record's payload: texts, each a u32 length and its bytes: url, api, sink,
// layout, output, the number of includes as a decimal text, the includes, the excludes. Behind the
// number stands whatever else is known or not as it is by default, each as ";KEY=VALUE".
std::string encode_identity(const JobIdentity& identity);
// The way back; nullopt when the payload is nothing that encode_identity made.
std::optional<JobIdentity> decode_identity(std::string_view payload);

}  // namespace gigafetch::store
