// What the fetcher makes of answers: which of them settle a name, and which names go again.
#include "base/log.h"
#include "worker/fetcher.h"

namespace gigafetch::worker {
namespace {

// Files put off for one warning about it.
constexpr uint64_t kPutOffsPerWarning = 1000;
// A name goes again so often beside others when its connection ended before its answer was proven:
// one that ends each connection by a reset would never prove any.
constexpr uint8_t kUnprovenTries = 3;
// The wait of a name that is to go again, but not at once.
constexpr Millis kPutOff{100};
// As long as most of the names that had failed arrive in the end, failures are chance, or about the
// origin, and not about the file: so many times the tries are allowed then. A file that always
// fails changes nothing for itself.
constexpr double kMostRecover = 0.5;
constexpr double kRecoveryGain = 1.0 / 16;
constexpr uint32_t kPatience = 4;
constexpr uint32_t kPushbackDoublings = 3;
// Connections that end unanswered are charged to their files when no more names than this are left:
// then it may well be the names.
constexpr size_t kFewNames = 16;

bool asks_for_less(int status) {
  return status == 429 || status == 503;
}

}  // namespace

void Fetcher::on_response(int status, Millis waited) {
  ++counters_.responses;
  if (absence_.on_answer()) {
    log_info("the origin answers again");
    hold_timer_.start(Millis(0));
  }
  answer_times_.on_answer(waited);
  if (status == ConnectionOwner::kFollowed) return;
  if (status == 200 || status != counters_.failing_status) counters_.failing = 0;
  if (status == 200) return;
  ++counters_.failing;
  counters_.failing_status = static_cast<uint16_t>(status);
  if (asks_for_less(status)) ++counters_.pushbacks;
}

void Fetcher::on_announced_close(uint64_t responses, uint32_t cut) {
  const bool usual = request_limit_.on_close(responses);
  if (cut > 0) depth_.on_doubt(usual ? 1 : cut);
}

Part* Fetcher::answered(const Task& task, uint64_t, const store::Hash128&) {
  --in_flight_;
  ++on_probation_;
  return state_ == State::stopped ? nullptr : client_.on_answered(task, true);
}

void Fetcher::answered_without_file(const Answer& answer) {
  --in_flight_;
  ++on_probation_;
  if (state_ != State::stopped) client_.on_answered(answer.task, false);
}

void Fetcher::proven(Answers& answers) {
  for (const FileRun& files : answers.files) {
    on_probation_ -= files.count;
    open_tasks_ -= files.count;
  }
  if (state_ != State::stopped && !answers.files.empty()) client_.on_stored(answers.files);
  for (Answer& answer : answers.others)
    prove(std::move(answer));
}

void Fetcher::prove(Answer answer) {
  --on_probation_;
  if (state_ == State::stopped) return;
  if (answer.failure != nullptr) return fail(answer.task, std::move(*answer.failure));
  if (answer.elsewhere) {
    client_.on_taken_back({&answer, 1});
    return queue_.put_back(answer.task);
  }
  --open_tasks_;
  redirects_.forget(answer.task);
  if (answer.task.attempts > 0) recovery_ += (1 - recovery_) * kRecoveryGain;
  const FileRun file = file_of(answer.task, answer.part, answer.bytes, answer.content);
  client_.on_stored({&file, 1});
}

void Fetcher::take_back(std::span<const Answer> answers) {
  on_probation_ -= answers.size();
  if (state_ != State::stopped) client_.on_taken_back(answers);
}

void Fetcher::taken_back(Answers answers, Doubt doubt) {
  std::vector<Answer> singly = answers.take_singly();
  take_back(singly);
  if (state_ != State::running) return;
  for (Answer& answer : singly) {
    if (doubt == Doubt::unproven && answer.task.unproven < kUnprovenTries) {
      ++answer.task.unproven;
    } else {
      answer.task.alone = true;
    }
    answer.task.replayed = false;
    redirects_.forget(answer.task);
    answer.task.redirect = 0;
    queue_.put_back(answer.task);
  }
}

void Fetcher::doubted_again(Answer answer, std::string_view why) {
  take_back({&answer, 1});
  const auto attempts = static_cast<uint16_t>(answer.task.attempts + 1);
  fail(answer.task,
       FileFailure{FailureClass::bad_framing, 0, attempts,
                   fmt::format("its answer does not end where it says, each time: {}", why)});
}

void Fetcher::on_misframed(Misframing kind) {
  depth_.on_misframed();
  answer_times_.on_misframed(counters_.responses);
  if (state_ != State::stopped) client_.on_misframed(kind);
}

ProbationTerms Fetcher::probation_terms() const {
  return answer_times_.probation_terms(counters_.responses, connections_.size());
}

void Fetcher::fail(const Task& task, FileFailure failure) {
  if (state_ == State::stopped) return;
  if (is_of_origin(failure.cause)) sink_.discard(task.name());
  --open_tasks_;
  redirects_.forget(task);
  client_.on_failed(task, std::move(failure));
}

bool Fetcher::follow(Task& task, std::string_view location) {
  if (state_ == State::stopped) return false;
  std::string target;
  append_target(target, task);
  task.replayed = false;
  return redirects_.follow(task, target, location);
}

uint32_t Fetcher::tries_allowed() const {
  const uint32_t tries = settings_.retries + 1;
  return recovery_ >= kMostRecover ? kPatience * tries : tries;
}

void Fetcher::failed_attempt(Task task, FileFailure failure, Millis at_least) {
  --in_flight_;
  if (state_ == State::stopped) return;
  redirects_.forget(task);
  task.redirect = 0;
  ++task.attempts;
  task.replayed = false;
  failure.attempts = task.attempts;
  uint32_t doublings = task.attempts;
  if (failure.cause == FailureClass::http_status && asks_for_less(failure.status)) {
    // The pace of the whole job answers to it: the name itself need not wait long.
    doublings = std::min(doublings, kPushbackDoublings);
    retry_after_ = std::max(retry_after_, at_least);
    client_.on_pushback();
  }
  if (task.attempts >= tries_allowed()) {
    recovery_ -= recovery_ * kRecoveryGain;
    return fail(task, std::move(failure));
  }
  ++counters_.retries;
  const Millis wait = at_least + retry_backoff_.delay(doublings, random_);
  queue_.put_back_at(task, loop_.now() + wait);
  arm_wake_timer();
}

void Fetcher::give_back(const Task& task) {
  --in_flight_;
  queue_.put_back(task);
}

// A file that makes its server drop the connection looks like an origin that is away and still
// accepts, or is being started anew. It is the file when it happens to it again while others are
// answered, or when hardly any are left.
void Fetcher::unanswered(Task task, FileFailure failure) {
  const bool answered = unanswered_at_ != counters_.responses;
  const bool first = !std::exchange(task.unanswered, true);
  unanswered_at_ = counters_.responses;
  const bool blamed = answered ? !first : open_tasks_ <= kFewNames;
  if (state_ != State::running || blamed) {
    return failed_attempt(task, std::move(failure), Millis(0));
  }
  --in_flight_;
  task.replayed = false;
  if (answered) return queue_.put_back_at(task, loop_.now() + kPutOff);
  if (!absence_.is_unanswered()) hold_connecting(absence_.on_unanswered());
  // It may be the name after all: the next try is another's, and so comes before this one's.
  queue_.put_back_at(task, loop_.now() + absence_.until_others_tried());
}

// First to another connection, then to another worker.
void Fetcher::gave_up_waiting(Task task) {
  --in_flight_;
  if (state_ != State::running) return queue_.put_back(task);
  ++task.attempts;
  ++counters_.retries;
  if (!std::exchange(task.moved, true)) return queue_.put_back(task);
  --open_tasks_;
  redirects_.forget(task);
  client_.on_released(task);
}

void Fetcher::put_off(const Task& task, std::string_view why) {
  --in_flight_;
  if (state_ == State::stopped) return;
  if (put_offs_++ % kPutOffsPerWarning == 0) log_warning("{}; trying again", why);
  queue_.put_back_at(task, loop_.now() + kPutOff);
  arm_wake_timer();
}

void Fetcher::store_broken(std::string_view text) {
  if (state_ == State::stopped) return;
  state_ = State::stopped;
  client_.on_store_broken(text);
}

}  // namespace gigafetch::worker
