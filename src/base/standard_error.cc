#include "base/standard_error.h"

#include <unistd.h>

#include <utility>

#include "base/lossy_stream.h"

namespace gigafetch::standard_error {
namespace {

LossyStream* the_stream = nullptr;

// Never destroyed: children leave through _exit(2), and a line must be possible until then.
LossyStream& stream() {
  if (the_stream == nullptr) open("gigafetch");
  return *the_stream;
}

}  // namespace

void open(std::string_view who) {
  // A signal handler must not find it half gone.
  delete std::exchange(the_stream, nullptr);
  the_stream = new LossyStream(STDERR_FILENO, who);
}

void write(std::string_view line) {
  stream().write(line);
}

void show(std::string_view text) {
  stream().show(text);
}

void flush() {
  stream().flush();
}

bool waits() {
  return stream().waits();
}

void drain(Millis patience) {
  stream().drain(patience);
}

void write_now(std::string_view text) {
  if (the_stream != nullptr) the_stream->write_now(text);
}

}  // namespace gigafetch::standard_error
