#include "base/failure.h"

#include <array>
#include <utility>

namespace gigafetch {
namespace {

constexpr auto kNames = std::to_array<std::pair<FailureClass, std::string_view>>({
    {FailureClass::bad_name, "bad-name"},
    {FailureClass::name_too_long, "name-too-long"},
    {FailureClass::http_status, "http-status"},
    {FailureClass::redirect, "redirect"},
    {FailureClass::content_encoding, "content-encoding"},
    {FailureClass::too_large, "too-large"},
    {FailureClass::bad_framing, "bad-framing"},
    {FailureClass::truncated, "truncated"},
    {FailureClass::reset, "reset"},
    {FailureClass::stalled, "stalled"},
    {FailureClass::bad_coding, "bad-coding"},
    {FailureClass::name_conflict, "name-conflict"},
    {FailureClass::unsafe_path, "unsafe-path"},
    {FailureClass::store_error, "store-error"},
    {FailureClass::missing, "missing"},
    {FailureClass::different, "different"},
});

}  // namespace

std::string_view name_of(FailureClass failure) {
  for (const auto& [value, name] : kNames) {
    if (value == failure) return name;
  }
  return "unknown";
}

std::optional<FailureClass> failure_class_of(uint8_t wire_value) {
  for (const auto& [value, name] : kNames) {
    if (static_cast<uint8_t>(value) == wire_value) return value;
  }
  return std::nullopt;
}

bool is_rejection(FailureClass failure) {
  return failure == FailureClass::bad_name || failure == FailureClass::name_too_long;
}

bool is_passing(const FileFailure& failure) {
  switch (failure.cause) {
    case FailureClass::http_status:
      return is_passing_status(failure.status);
    case FailureClass::bad_framing:
    case FailureClass::truncated:
    case FailureClass::reset:
    case FailureClass::stalled:
    case FailureClass::bad_coding:
    case FailureClass::store_error:
      return true;
    default:
      return false;
  }
}

}  // namespace gigafetch
