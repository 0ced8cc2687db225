// When the answers of a connection are proven, and when they are taken back (worker/probation.h).
#include "worker/fetch_connection.h"

namespace gigafetch::worker {

void FetchConnection::rest() {
  if (probation_.empty() || quiet_timer_.active() || connection_.is_closed()) return;
  const ProbationTerms terms = owner_.probation_terms();
  const bool in_work = connection_.is_open() && !alone_ && is_quiet_due();
  quiet_timer_.start(in_work ? terms.quiet : terms.long_quiet);
}

void FetchConnection::on_quiet() {
  // A loop that was blocked has not looked yet.
  if (connection_.has_unread()) return quiet_timer_.start(Millis(1));
  const ProbationTerms terms = owner_.probation_terms();
  const bool was_long = connection_.last_activity() + terms.long_quiet <= loop_.now();
  if (!was_long && connection_.is_open() && !alone_) {
    prove(probation_.take_all_but_last(loop_.now()));
    return owner_.fill(*this);
  }
  prove_all();
  // An announced end that does not come, or one that was asked for in vain.
  if (alone_ || connection_.is_ending()) {
    retire();
    return owner_.on_disconnected(*this);
  }
  owner_.fill(*this);
}

void FetchConnection::prove_while_waiting(TimePoint since) {
  if (probation_.empty() || probation_.pipelined() || verdict_ != Verdict::waiting) return;
  const Millis patience = owner_.probation_terms().long_quiet;
  if (connection_.last_activity() + patience <= since) prove_all();
}

void FetchConnection::prove(Answers answers) {
  owner_.proven(answers);
  probation_.recycle(std::move(answers));
}

void FetchConnection::prove_all() {
  if (!probation_.empty()) prove(probation_.take_all());
}

void FetchConnection::retire() {
  connection_.close();
  quiet_timer_.stop();
}

// It is suspected.
void FetchConnection::take_last_back() {
  Answers last;
  last.others.push_back(probation_.take_last());
  owner_.taken_back(std::move(last), Doubt::suspected);
}

void FetchConnection::take_all_back(Doubt doubt) {
  Answers answers = probation_.take_all();
  if (!answers.empty()) owner_.taken_back(std::move(answers), doubt);
}

// The connection has ended otherwise than by a misframed answer.
void FetchConnection::judge_unproven(bool orderly) {
  quiet_timer_.stop();
  if (orderly || !probation_.pipelined()) {
    prove_all();
  } else {
    take_all_back(Doubt::unproven);
  }
}

// The connection was closed within an answer that is not taken. That is no quiet point: a surplus
// answer may have shifted the others, unless this one is the connection's `first`. A name that
// fails for it is asked for alone, where it is certain whose answer that is.
void FetchConnection::judge_refused(bool first, bool fails) {
  quiet_timer_.stop();
  if (first) return prove_all();
  if (fails) take_last_back();
  take_all_back(Doubt::unproven);
}

// Whether what had come behind an answer casts doubt on it. The oldest in flight is then not to be
// charged.
bool FetchConnection::judge_misframing(const net::Closure& closure) {
  const bool surplus = closure.fault == http::ResponseFault::surplus;
  if ((!surplus && !closure.no_head) || probation_.empty()) return false;
  quiet_timer_.stop();
  owner_.on_misframed(surplus ? Misframing::surplus : Misframing::wrong_end);
  if (alone_) {
    owner_.doubted_again(probation_.take_last(), closure.text);
  } else if (surplus) {
    take_all_back(Doubt::suspected);
  } else {
    take_last_back();
    take_all_back(Doubt::unproven);
  }
  return true;
}

}  // namespace gigafetch::worker
