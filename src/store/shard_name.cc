#include "store/shard_name.h"

#include <fmt/core.h>

#include <charconv>

namespace gigafetch::store {
namespace {

constexpr std::string_view kPrefix = "worker-";
constexpr std::string_view kTar = ".tar";
constexpr std::string_view kCompressed = ".tar.zst";
constexpr std::string_view kIndex = ".idx";

std::string stem_of(const ShardId& id) {
  return fmt::format("{}{:02}-{:06}", kPrefix, id.worker, id.number);
}

bool take_number(std::string_view& text, uint32_t& number) {
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

// The id that `file` begins with, when what follows is `suffix`.
std::optional<ShardId> id_of(std::string_view file, std::string_view suffix) {
  std::string_view rest = file;
  ShardId id;
  if (!rest.starts_with(kPrefix)) return std::nullopt;
  rest.remove_prefix(kPrefix.size());
  if (!take_number(rest, id.worker) || !rest.starts_with('-')) return std::nullopt;
  rest.remove_prefix(1);
  if (!take_number(rest, id.number) || rest != suffix) return std::nullopt;
  // Only the one spelling that stem_of makes.
  const std::string stem = stem_of(id);
  if (file.substr(0, file.size() - suffix.size()) != stem) return std::nullopt;
  return id;
}

}  // namespace

std::string file_of(const ShardName& name) {
  return stem_of(name.id).append(name.compressed ? kCompressed : kTar);
}

std::string index_file_of(const ShardId& id) {
  return stem_of(id).append(kIndex);
}

std::optional<ShardName> shard_of_file(std::string_view file) {
  if (const auto id = id_of(file, kTar)) return ShardName{*id, false};
  if (const auto id = id_of(file, kCompressed)) return ShardName{*id, true};
  return std::nullopt;
}

std::optional<ShardId> shard_of_index_file(std::string_view file) {
  return id_of(file, kIndex);
}

}  // namespace gigafetch::store
