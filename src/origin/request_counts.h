// RequestCounts: how often each file was asked for, so that a trial can tell what was asked for in
// vain or twice. Takes a byte a file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gigafetch::origin {

class RequestCounts {
 public:
  static constexpr uint8_t kMost = UINT8_MAX;  // a file's count stays there

  explicit RequestCounts(uint64_t files) : counts_(files) {}

  // `index` must be below the number of files.
  void on_request(uint64_t index) {
    ++requests_;
    uint8_t& count = counts_[index];
    if (count == 0) ++names_;
    if (count < kMost) ++count;
    most_ = std::max(most_, count);
  }
  void on_whole_answer() { ++answered_; }

  uint64_t requests() const { return requests_; }
  uint64_t names() const { return names_; }        // distinct ones
  uint8_t most() const { return most_; }           // for one file, at most kMost
  uint64_t answered() const { return answered_; }  // with 200 and the whole file

 private:
  std::vector<uint8_t> counts_;
  uint64_t requests_ = 0;
  uint64_t names_ = 0;
  uint64_t answered_ = 0;
  uint8_t most_ = 0;
};

}  // namespace gigafetch::origin
