// What a name of a page costs, from the page's bytes to the receiver, by the names on a page.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <string>

#include "listing/dialect.h"

namespace gigafetch::listing {
namespace {

class Count final : public NameReceiver {
 public:
  bool on_name(std::string_view name) override {
    benchmark::DoNotOptimize(name.data());
    ++names;
    return true;
  }
  bool on_bad_name(std::string_view, FailureClass, std::string_view) override { return true; }
  int64_t names = 0;
};

std::string page_of(int64_t names) {
  std::string page = R"({"FileNames":[)";
  for (int64_t i = 0; i < names; ++i)
    page += fmt::format(R"({}"file{:010}-{:08x}")", i == 0 ? "" : ",", i, i * 2654435761u);
  page += R"(],"NextMarker":"n10000"})";
  page.reserve(page.size() + kPagePadding);
  return page;
}

void read_page(benchmark::State& state) {
  const auto dialect = make_dialect("marker", "").value();
  std::string page = page_of(state.range(0));
  Count count;
  for (auto _ : state) {
    PageReader& reader = dialect->open_page(page);
    if (!reader.next_marker() || !reader.read_names(count)) return state.SkipWithError("refused");
  }
  if (count.names != static_cast<int64_t>(state.iterations()) * state.range(0)) {
    state.SkipWithError("names lost");
  }
  state.SetItemsProcessed(count.names);
  state.SetLabel("name");
}
BENCHMARK(read_page)->Name("listing/page")->Arg(100)->Arg(1000)->Arg(10'000);

void file_target(benchmark::State& state) {
  const auto dialect = make_dialect("marker", "").value();
  std::string target;
  for (auto _ : state) {
    target.clear();
    dialect->append_file_target(target, "file0000012345-9e3779b9");
    benchmark::DoNotOptimize(target.data());
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel("name");
}
BENCHMARK(file_target)->Name("listing/file_target");

}  // namespace
}  // namespace gigafetch::listing
