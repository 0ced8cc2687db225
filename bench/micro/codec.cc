// What a name costs on its way through the wire: in a batch, and in the outcome that answers it.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <string>

#include "base/name_list.h"
#include "wire/messages.h"

namespace gigafetch::wire {
namespace {

NameList names_of(int64_t count) {
  NameList names;
  for (int64_t i = 0; i < count; ++i)
    names.append(fmt::format("file{:010}-{:08x}", i, i * 2654435761u));
  return names;
}

BatchView batch_of(const NameList& names) {
  BatchView batch;
  batch.lease = 7;
  batch.count = names.count();
  batch.segments = {names.count()};
  batch.names = names.bytes();
  return batch;
}

// As a worker answers a batch that went well.
Outcome outcome_of(uint32_t count) {
  Outcome outcome;
  outcome.lease = 7;
  outcome.count = count;
  outcome.last = true;
  outcome.stored = {{0, count}};
  outcome.contents = {{0, 100ull * count, 1, 2}};
  return outcome;
}

void finish(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.SetLabel("name");
}

template <typename Message>
void write(benchmark::State& state, const Message& message) {
  std::string frame;
  for (auto _ : state) {
    frame.clear();
    append(frame, message);
    benchmark::DoNotOptimize(frame.data());
  }
  finish(state);
}

// Cut out of the stream, parsed, and every name walked over.
void read_batch(benchmark::State& state) {
  const NameList names = names_of(state.range(0));
  std::string bytes;
  append(bytes, batch_of(names));
  FrameReader reader;
  for (auto _ : state) {
    Frame frame;
    reader.feed(bytes);
    if (reader.next(frame) != FrameReader::Status::frame) return state.SkipWithError("no frame");
    const auto batch = parse_batch(frame.payload);
    if (!batch) return state.SkipWithError("refused");
    for (NameCursor cursor(batch.value().names); !cursor.done(); cursor.next())
      benchmark::DoNotOptimize(cursor.name().data());
  }
  finish(state);
}

void read_outcome(benchmark::State& state) {
  std::string bytes;
  append(bytes, outcome_of(static_cast<uint32_t>(state.range(0))));
  FrameReader reader;
  for (auto _ : state) {
    Frame frame;
    reader.feed(bytes);
    if (reader.next(frame) != FrameReader::Status::frame) return state.SkipWithError("no frame");
    if (!parse_outcome(frame.payload)) return state.SkipWithError("refused");
  }
  finish(state);
}

void write_batch(benchmark::State& state) {
  const NameList names = names_of(state.range(0));
  write(state, batch_of(names));
}
void write_outcome(benchmark::State& state) {
  write(state, outcome_of(static_cast<uint32_t>(state.range(0))));
}
BENCHMARK(write_batch)->Name("codec/batch_written")->Arg(100)->Arg(1000);
BENCHMARK(read_batch)->Name("codec/batch_read")->Arg(100)->Arg(1000);
BENCHMARK(write_outcome)->Name("codec/outcome_written")->Arg(1000);
BENCHMARK(read_outcome)->Name("codec/outcome_read")->Arg(1000);

}  // namespace
}  // namespace gigafetch::wire
