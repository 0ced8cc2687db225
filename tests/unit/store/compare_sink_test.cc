#include "store/compare_sink.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "base/temp_folder.h"
#include "store/stored_files.h"

namespace gigafetch::store {
namespace {

Lot lot;  // of no use to this sink

namespace fs = std::filesystem;

// The status of comparing through a writer, in pieces of `step` bytes.
StoreStatus written(CompareSink& sink, std::string_view name, std::string_view body, size_t step) {
  std::unique_ptr<BodyWriter> writer;
  if (StoreStatus status = sink.open(lot, name, std::nullopt, writer); !status.ok()) return status;
  for (; !body.empty(); body.remove_prefix(std::min(step, body.size()))) {
    if (StoreStatus status = writer->append(body.substr(0, step)); !status.ok()) return status;
  }
  return writer->close();
}

// What both ways to compare say.
std::string compared(CompareSink& sink, std::string_view name, std::string_view body) {
  const auto text = [](const StoreStatus& status) {
    if (status.ok()) return std::string("ok");
    CHECK(status.kind() == StoreStatus::Kind::file);
    return std::string(gigafetch::name_of(status.cause())) + ": " + status.text();
  };
  const std::string put = text(sink.put(lot, name, body));
  for (const size_t step : {size_t{1}, size_t{7}, size_t{65'536}, size_t{100'000}}) {
    if (step == 1 && body.size() > 1'000) continue;
    CHECK(text(written(sink, name, body, step)) == put);
  }
  return put;
}

}  // namespace

TEST_CASE("a file that holds exactly the body is equal") {
  const TempFolder out;
  write_file(out / "f", "body");
  write_file(out / "empty", "");
  const std::string large = std::string(200'000, 'x') + "y";
  write_file(out / "large", large);
  CompareSink sink(std::make_unique<StoredFiles>(out.fd(), Layout::tree));
  CHECK(compared(sink, "f", "body") == "ok");
  CHECK(compared(sink, "empty", "") == "ok");
  CHECK(compared(sink, "large", large) == "ok");
  Receipt receipt = 1;
  CHECK(sink.commit(lot, receipt).ok());
  CHECK(receipt == 0);
}

TEST_CASE("a file that is shorter, longer or other is different, and from where is told") {
  const TempFolder out;
  write_file(out / "f", "body");
  write_file(out / "empty", "");
  CompareSink sink(std::make_unique<StoredFiles>(out.fd(), Layout::tree));
  CHECK(compared(sink, "f", "body!") ==
        "different: 'f': it is shorter than the origin's from byte 4 on");
  CHECK(compared(sink, "f", "bod") ==
        "different: 'f': it is longer than the origin's from byte 3 on");
  CHECK(compared(sink, "f", "") == "different: 'f': it is longer than the origin's from byte 0 on");
  CHECK(compared(sink, "empty", "x") ==
        "different: 'empty': it is shorter than the origin's from byte 0 on");
  CHECK(compared(sink, "f", "xody") == "different: 'f': its bytes differ from byte 0 on");
  CHECK(compared(sink, "f", "boDy") == "different: 'f': its bytes differ from byte 2 on");
  CHECK(compared(sink, "f", "bodY") == "different: 'f': its bytes differ from byte 3 on");
}

TEST_CASE("a difference far into a large file is found at its byte") {
  const TempFolder out;
  const std::string body(200'000, 'x');
  for (const size_t at :
       {size_t{0}, size_t{65'535}, size_t{65'536}, size_t{131'072}, size_t{199'999}}) {
    std::string stored = body;
    stored[at] = 'y';
    write_file(out / "f", stored);
    CompareSink sink(std::make_unique<StoredFiles>(out.fd(), Layout::tree));
    CHECK(compared(sink, "f", body) ==
          "different: 'f': its bytes differ from byte " + std::to_string(at) + " on");
  }
}

TEST_CASE("a file that is not there, or no file, is told apart") {
  const TempFolder out, outside;
  write_file(outside / "f", "body");
  fs::create_directory(out / "folder");
  fs::create_symlink(outside / "f", out / "link");
  CompareSink sink(std::make_unique<StoredFiles>(out.fd(), Layout::tree));
  CHECK(compared(sink, "missing", "x").starts_with("missing: "));
  CHECK(compared(sink, "folder", "x").starts_with("name-conflict: "));
  CHECK(compared(sink, "link", "body").starts_with("unsafe-path: "));
  CHECK(compared(sink, "", "x").starts_with("bad-name: "));
}

TEST_CASE("comparing refuses the names that storing refuses, and changes nothing") {
  const TempFolder out;
  write_file(out / "f", "body");
  CompareSink sink(std::make_unique<StoredFiles>(out.fd(), Layout::tree));
  CHECK(sink.refuses("") == FailureClass::bad_name);
  CHECK(sink.refuses(std::string(256, 'a')) == FailureClass::name_too_long);
  CHECK_FALSE(sink.refuses("a").has_value());
  CHECK(sink.refusal_text(FailureClass::bad_name) ==
        refusal_text(Layout::tree, FailureClass::bad_name));
  (void)sink.put(lot, "f", "other");
  (void)sink.put(lot, "new/file", "other");
  (void)written(sink, "f", "other", 2);
  CHECK(read_file(out / "f") == "body");
  CHECK(std::distance(fs::directory_iterator(out.path()), {}) == 1);
}

}  // namespace gigafetch::store
