#include "store/job_identity.h"

#include <fmt/format.h>

#include <charconv>

#include "base/byte_order.h"
#include "base/escape.h"
#include "store/name_rules.h"

namespace gigafetch::store {
namespace {

// Each follows a number, as ";KEY=VALUE".
constexpr std::string_view kNamesKey = ";names=";
constexpr std::string_view kEncodingKey = ";content-encoding=";

// The value of such a key; nullopt when it is not there.
std::optional<std::string> value_of(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == text.npos) return std::nullopt;
  const std::string_view value = text.substr(at + key.size());
  return std::string(value.substr(0, value.find(';')));
}

void put_item(std::string& out, std::string_view text) {
  put_le<uint32_t>(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

std::string join(const std::vector<std::string>& globs) {
  std::string out;
  for (const std::string& glob : globs)
    out += fmt::format("{}'{}'", out.empty() ? "" : " ", printable(glob));
  return out.empty() ? "not given" : out;
}

}  // namespace

std::string encode_identity(const JobIdentity& identity) {
  std::string out;
  put_item(out, identity.url);
  put_item(out, identity.api);
  put_item(out, identity.sink);
  put_item(out, identity.layout);
  put_item(out, identity.output);
  std::string includes = std::to_string(identity.include.size());
  if (!identity.names.empty()) includes += std::string(kNamesKey) + identity.names;
  if (identity.content_encoding != kPlainEncoding) {
    includes += std::string(kEncodingKey) + identity.content_encoding;
  }
  put_item(out, includes);
  for (const std::string& glob : identity.include)
    put_item(out, glob);
  for (const std::string& glob : identity.exclude)
    put_item(out, glob);
  return out;
}

std::optional<JobIdentity> decode_identity(std::string_view payload) {
  std::vector<std::string> items;
  while (!payload.empty()) {
    if (payload.size() < sizeof(uint32_t)) return std::nullopt;
    const auto length = get_le<uint32_t>(payload.data());
    payload.remove_prefix(sizeof(uint32_t));
    if (payload.size() < length) return std::nullopt;
    items.emplace_back(payload.substr(0, length));
    payload.remove_prefix(length);
  }
  constexpr size_t kFixedItems = 6;
  if (items.size() < kFixedItems) return std::nullopt;
  size_t includes = 0;
  const std::string& count = items[5];
  std::from_chars(count.data(), count.data() + count.size(), includes);
  if (includes > items.size() - kFixedItems) return std::nullopt;
  const auto first = items.begin() + kFixedItems;
  const auto middle = first + static_cast<std::ptrdiff_t>(includes);
  JobIdentity identity{
      items[0], items[1], items[2], items[3], {first, middle}, {middle, items.end()}, items[4]};
  identity.names = value_of(count, kNamesKey).value_or("");
  identity.content_encoding = value_of(count, kEncodingKey).value_or(std::string(kPlainEncoding));
  return identity;
}

std::string difference(const JobIdentity& recorded, const JobIdentity& wanted) {
  using Globs = std::vector<std::string>;
  const auto shown = [](const auto& value) {
    if constexpr (std::is_same_v<decltype(value), const Globs&>) {
      return join(value);
    } else {
      return fmt::format("'{}'", printable(value));
    }
  };
  const auto compare = [&](std::string_view what, const auto& old_value, const auto& new_value) {
    if (old_value == new_value) return std::string();
    return fmt::format("{} was {}, now it is {}", what, shown(old_value), shown(new_value));
  };
  for (const std::string& found :
       {compare("the URL", recorded.url, wanted.url), compare("--api", recorded.api, wanted.api),
        compare("--sink", recorded.sink, wanted.sink),
        compare("--layout", recorded.layout, wanted.layout),
        compare("--content-encoding", recorded.content_encoding, wanted.content_encoding),
        compare("the output folder", recorded.output, wanted.output),
        compare("--include", recorded.include, wanted.include),
        compare("--exclude", recorded.exclude, wanted.exclude)}) {
    if (!found.empty()) return found;
  }
  const std::optional<NameRules> before = decode_rules(recorded.names);
  const std::optional<NameRules> now = decode_rules(wanted.names);
  if (before && now && !before->folds() && now->folds()) {
    return "its file system kept all names apart, and this one does not: files whose names differ "
           "in little may have been lost on the way here";
  }
  return {};
}

}  // namespace gigafetch::store
