// What it costs to pack a file of 100 bytes: its tar header, its index entry, its share of a frame.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "store/tar_format.h"
#include "store/zstd_frames.h"

namespace gigafetch::store {
namespace {

constexpr size_t kFiles = 1000;  // of a batch
constexpr size_t kBodyBytes = 100;
constexpr char kHexDigits[] = "0123456789abcdef";

std::vector<std::string> names() {
  std::vector<std::string> names;
  for (size_t i = 0; i < kFiles; ++i)
    names.push_back(fmt::format("file{:010}-{:08x}", i, static_cast<uint32_t>(mix64(i))));
  return names;
}

std::string hex_body(Random& random) {
  std::string body;
  while (body.size() < kBodyBytes)
    body += kHexDigits[random.next() & 15];
  return body;
}

void headers(benchmark::State& state, bool extended) {
  const TarHeaders headers(1'700'000'000);
  const std::vector<std::string> all = names();
  std::string out;
  for (auto _ : state) {
    out.clear();
    for (const std::string& name : all) {
      if (extended) {
        headers.append_extended(out, name, kBodyBytes);
      } else {
        headers.append(out, name, kBodyBytes);
      }
    }
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kFiles));
  state.SetLabel("header");
}
BENCHMARK_CAPTURE(headers, 0, false)->Name("packed/header/plain");
BENCHMARK_CAPTURE(headers, 1, true)->Name("packed/header/extended");

void parse(benchmark::State& state) {
  std::string header;
  TarHeaders(1'700'000'000).append(header, names().front(), kBodyBytes);
  TarMember member;
  for (auto _ : state) {
    if (parse_tar_header(header, member) != TarParse::member) return state.SkipWithError("broken");
    benchmark::DoNotOptimize(member.size);
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel("header");
}
BENCHMARK(parse)->Name("packed/header/parse");

// A batch's worth of members as one frame.
void compress(benchmark::State& state) {
  const TarHeaders headers(1'700'000'000);
  Random random(1);
  std::string members;
  for (const std::string& name : names()) {
    headers.append(members, name, kBodyBytes);
    members += hex_body(random);
    members.append(tar_padding(kBodyBytes), '\0');
  }
  FrameCompressor compressor(static_cast<int>(state.range(0)));
  size_t size = 0;
  for (auto _ : state)
    size = compressor.compress(members).size();
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kFiles));
  state.counters["bytes_per_file"] = static_cast<double>(size) / kFiles;
  state.SetLabel("file");
}
BENCHMARK(compress)->Name("packed/zstd")->Arg(1)->Arg(3)->Arg(9);

}  // namespace
}  // namespace gigafetch::store
