// Answers: what has come on a connection and is on probation, proven or taken back; and what may be
// wrong with it (worker/probation.h). Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "store/content_hash.h"
#include "worker/batch.h"

namespace gigafetch::worker {

// What an answer came to: a file that the sink has taken, a failure for good, or a redirect that is
// followed.
struct Answer {
  Task task;
  Part* part = nullptr;  // of the batch, that its file is in
  uint64_t bytes = 0;
  store::Hash128 content;                // store::content_hash of name and body
  std::unique_ptr<FileFailure> failure;  // null when it did not fail
  bool elsewhere = false;                // it led on: the task knows where to

  bool has_file() const { return failure == nullptr && !elsewhere; }
};

// The file of an answer, by itself.
inline FileRun file_of(const Task& task, Part* part, uint64_t bytes,
                       const store::Hash128& content) {
  return {task.batch, part, task.index, 1, task.batch->segment_of(task.index), bytes, content};
}

// Answers that are proven, or taken back, together; in no order.
struct Answers {
  std::vector<FileRun> files;  // of whose way here nothing need be known
  std::vector<Answer> others;

  bool empty() const { return files.empty() && others.empty(); }
  // Each by itself.
  std::vector<Answer> take_singly() {
    std::vector<Answer> all = std::move(others);
    for (const FileRun& run : files) {
      for (uint32_t i = 0; i < run.count; ++i) {
        Answer& answer = all.emplace_back();
        answer.task.batch = run.batch;
        answer.task.index = run.first + i;
        answer.part = run.part;
      }
    }
    files.clear();
    return all;
  }
};

// How an origin's answers have turned out not to be what they say.
enum class Misframing : uint8_t {
  wrong_end,  // bytes behind an answer begin no other one
  surplus,    // an answer came that was not asked for
};

// What is thought of answers that are taken back.
enum class Doubt : uint8_t {
  unproven,   // the connection ended before they could be proven; nothing speaks against them
  suspected,  // what came behind them does
};

}  // namespace gigafetch::worker
