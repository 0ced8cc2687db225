// How names become paths below the output folder.
//
//   tree    the name's own slashes are folders:          a/b c.txt  ->  a/b c.txt
//   flat    one folder; '/' is encoded:                  a/b c.txt  ->  a%2Fb c.txt
//   fanout  as flat, below 256 x 256 folders by hash:    a/b c.txt  ->  4e/07/a%2Fb c.txt
//
// The mapping is injective and reversible, and no name is ever normalised. Most names stand on disk
// as they are. Encoded as %XX are: control bytes; bytes that are not UTF-8; a '%' that would read
// as an escape; a component that is "." or ".."; a slash that has an empty component on either
// side; and the first byte of a first component ".gigafetch", where the state folder lives. In
// `fanout` an encoded name longer than a file name may be (255 bytes) is cut into folders whose
// names end in '~'. The other layouts refuse it, so that they keep the shape their users chose them
// for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/failure.h"

namespace gigafetch::store {

// The state folder's name, when it lies in the output folder.
inline constexpr std::string_view kStateFolderName = ".gigafetch";

// Longest component of a path that file systems take (NAME_MAX), and longest path that goes through
// one system call (PATH_MAX less its NUL).
inline constexpr size_t kMaxComponentBytes = 255;
inline constexpr size_t kMaxPathBytes = 4095;

enum class Layout : uint8_t { tree, flat, fanout };
std::string_view name_of(Layout layout);
std::optional<Layout> layout_of(std::string_view name);

// What is to take the path: file systems have limits for it, archives have none.
enum class PathLimits : uint8_t { file_system, none };

// Replaces `path` by the path of `name`, relative to the output folder. Fails with bad_name (empty,
// or a NUL in it) or name_too_long; `path` is then of no use. Any bytes are a valid argument.
std::optional<FailureClass> path_of_name(Layout layout, std::string_view name, std::string& path,
                                         PathLimits limits = PathLimits::file_system);

// What a refusal by path_of_name means, for failed.jsonl.
std::string_view refusal_text(Layout layout, FailureClass refusal);

// The name whose path is exactly `path`; nullopt when no name maps to it.
std::optional<std::string> name_of_path(Layout layout, std::string_view path,
                                        PathLimits limits = PathLimits::file_system);

}  // namespace gigafetch::store
