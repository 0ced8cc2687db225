// What it costs to map a name to its path, layout by layout; and back.
#include "store/layout.h"

#include <benchmark/benchmark.h>

#include <string>

namespace gigafetch::store {
namespace {

constexpr std::string_view kPlain = "file0000012345-9e3779b9";
constexpr std::string_view kFolders = "2026/11/21/camera-7/frame 0000012345.jpg";
constexpr std::string_view kEscaped = "a/../b%41\x01\xff/c";

void map(benchmark::State& state, Layout layout, std::string_view name) {
  std::string path;
  for (auto _ : state) {
    if (path_of_name(layout, name, path)) return state.SkipWithError("refused");
    benchmark::DoNotOptimize(path.data());
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel("name");
}
BENCHMARK_CAPTURE(map, 0, Layout::tree, kPlain)->Name("layout/tree/plain");
BENCHMARK_CAPTURE(map, 1, Layout::tree, kFolders)->Name("layout/tree/folders");
BENCHMARK_CAPTURE(map, 2, Layout::tree, kEscaped)->Name("layout/tree/escaped");
BENCHMARK_CAPTURE(map, 3, Layout::flat, kFolders)->Name("layout/flat/folders");
BENCHMARK_CAPTURE(map, 4, Layout::fanout, kPlain)->Name("layout/fanout/plain");

void back(benchmark::State& state) {
  std::string path;
  path_of_name(Layout::fanout, kPlain, path);
  for (auto _ : state) {
    const auto name = name_of_path(Layout::fanout, path);
    if (!name) return state.SkipWithError("no name");
    benchmark::DoNotOptimize(name->data());
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel("name");
}
BENCHMARK(back)->Name("layout/fanout/back");

}  // namespace
}  // namespace gigafetch::store
