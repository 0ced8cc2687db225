#!/usr/bin/python3
"""Shows that the fault suite can fail: breaks one promise at a time, and runs the tests that must notice.

    tests/fault/mutate.py [NAME]...

Works on a copy of the tree in a temporary folder, which is put back after each mutation. Status 0 when every
mutation was noticed, and the tests pass without one; 1 also when one of them does not fit the code any more.
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = "build/test"  # the folder of script/test: what is not mutated then comes from the compiler cache

DEFERRED_PUT = """
// The mutation: bodies are written when many have gathered: more than come while answers wait for proof.
StoreStatus FileSink::put(Lot&, std::string_view name, std::string_view body) {
  late_.emplace_back(name, body);
  return late_.size() < 2000 ? StoreStatus() : write_late();
}

StoreStatus FileSink::write_late() {
  StoreStatus status;
  Lot lot;
  for (const auto& [name, body] : late_) {
    if (status.ok()) status = put_now(lot, name, body);
  }
  late_.clear();
  return status;
}

StoreStatus FileSink::put_now("""

# Name: what is promised, [(file, text, instead)], and the tests that must fail.
MUTATIONS = {
    "stored-before-commit": (
        "STORED is written after the sink has committed",
        [("src/store/file_sink.cc", "\nStoreStatus FileSink::put(", DEFERRED_PUT),
         ("src/store/file_sink.h", "  StoreStatus put(Lot& lot, std::string_view name, std::string_view body) override;",
          "  StoreStatus put(Lot& lot, std::string_view name, std::string_view body) override;\n"
          "  StoreStatus put_now(Lot& lot, std::string_view name, std::string_view body);\n"
          "  StoreStatus write_late();\n"
          "  ~FileSink() override { if (!write_late().ok()) late_.clear(); }"),
         ("src/store/file_sink.h", " private:\n  class Writer;",
          " private:\n  std::vector<std::pair<std::string, std::string>> late_;\n  class Writer;"),
         ("src/store/file_sink.h", "#include <string>\n", "#include <string>\n#include <utility>\n#include <vector>\n")],
        ["fault/test_kills.py", "-k", "loses_or_corrupts and (files-1] or files-2])"]),
    "folded-name-replaced": (
        "a path that holds another name's file is never replaced",
        [("src/store/file_sink.cc", "  const bool folds = options_.names.folds();", "  const bool folds = false;")],
        ["fault/test_folding.py", "-k", "of_names_that_fold and shim"]),
    "shards-not-cut": (
        "a shard goes as far as the ledger says",
        [("src/store/shard_recovery.cc", "  if (::ftruncate(fd.get(), static_cast<off_t>(end)) != 0 ||\n"
          "      ::lseek(fd.get(), static_cast<off_t>(end), SEEK_SET) < 0) {",
          "  if (::lseek(fd.get(), 0, SEEK_END) < 0) {")],
        ["fault/test_power_loss.py", "-k", "shards_go_on"]),
    "shards-not-removed": (
        "a shard that the ledger does not know is removed",
        [("src/store/shard_recovery.cc", "      to_remove.push_back(file);", "      if (file.empty()) to_remove.push_back(file);")],
        ["fault/test_kills.py", "-k", "loses_or_corrupts and (tar-1] or zstd-1])"]),
    "shards-closed-unsynced": (
        "the end of a finished shard is on the device",
        [("src/store/ledger_sync.cc", "if (output_fd >= 0 && ::syncfs(output_fd) != 0)", "if (output_fd < -1)")],
        ["fault/test_power_loss.py", "-k", "survives and tar"]),
    "broken-stream-kept": (
        "what arrived of a body that broke off is in no shard",
        [("src/store/tar_sink.cc", "    stream_->busy = !stream_->file->cut(begin_).ok();", "    stream_->busy = false;")],
        ["e2e/test_pack.py", "-k", "broke_off"]),
    "no-fdatasync": (
        "a SYNCED is on the device, and what it covers was before it",
        [("src/store/ledger_sync.cc", "if (::fdatasync(ledger_fd) != 0)", "if (ledger_fd < 0)")],
        ["fault/test_power_loss.py"]),
    "no-syncfs": (
        "a SYNCED covers only files that were synced",
        [("src/store/ledger_sync.cc", "if (output_fd >= 0 && ::syncfs(output_fd) != 0)", "if (output_fd < -1)")],
        ["fault/test_power_loss.py"]),
    "connection-kept-after-timeout": (
        "a connection whose answer is overdue is closed",
        [("src/worker/fetch_connection.cc",
          "  const bool was_open = connection_.is_open();\n  connection_.close();\n",
          "  const bool was_open = connection_.is_open();\n  if (!was_open) connection_.close();\n"),
         ("src/worker/fetch_connection.cc",
          "void FetchConnection::give_up_waiting() {\n  connection_.close();\n",
          "void FetchConnection::give_up_waiting() {\n")],
        ["fault/test_origins.py", "-k", "too_late"]),
    "told-unproven": (
        "an answer counts only when it is proven",
        [("src/worker/fetch_connection.cc",
          "  probation_.add_file(file_of(task, part, bytes, content), loop_.now());",
          "  Answers told;\n  told.files.push_back(file_of(task, part, bytes, content));\n  owner_.proven(told);")],
        ["e2e/test_framing.py", "-k", "large_files"]),
    "shifted-answers-kept": (
        "what no quiet point has proven is asked for again when an end proves wrong",
        [("src/worker/fetch_connection_proof.cc", "    take_all_back(Doubt::unproven);\n  }\n  return true;",
          "    prove_all();\n  }\n  return true;")],
        ["e2e/test_framing.py", "-k", "all_before_them"]),
    "unanswered-skipped": (
        "what a connection leaves unanswered is asked for again",
        [("src/worker/fetch_connection.cc", "    owner_.give_back(in_flight_.pop());",
          "  {\n"
          "    const Task task = in_flight_.pop();\n"
          "    Answers skipped;\n"
          "    skipped.files.push_back(file_of(task, owner_.answered(task, 0, {}), 0, {}));\n"
          "    owner_.proven(skipped);\n"
          "  }")],
        ["e2e/test_cuts.py"]),
    "refused-proves": (
        "an answer that is cut off because it is not taken proves none before it",
        [("src/worker/fetch_connection_proof.cc", "  if (first) return prove_all();", "  if (first || fails) return prove_all();")],
        ["e2e/test_framing.py", "-k", "refused_before_its_end"]),
}


def say(text):
    print(text, flush=True)


def build(tree):
    subprocess.run(["ninja", "-C", tree / BUILD, "src/gigafetch", "tests/fault/libfault-shim.so"], check=True,
                   stdout=subprocess.DEVNULL)


def passes(tree, tests):
    folder, _, file = tests[0].partition("/")
    environment = {**os.environ, "GIGAFETCH": str(tree / BUILD / "src/gigafetch"), "PYTHONDONTWRITEBYTECODE": "1",
                   "GIGAFETCH_SHIM": str(tree / BUILD / "tests/fault/libfault-shim.so")}
    ran = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file, *tests[1:]],
                         cwd=tree / "tests" / folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert ran.returncode in (0, 1), ran.stdout
    say("    " + next((line for line in ran.stdout.splitlines() if line.startswith("FAILED")), "all passed")[:150])
    return ran.returncode == 0


def mutate(tree, edits):
    """Gives what has to be put back."""
    originals = {path: (tree / path).read_text() for path, _, _ in edits}
    for path, text, instead in edits:
        file = tree / path
        whole = file.read_text()
        assert whole.count(text) == 1, f"{path} does not hold exactly one {text!r}: bring the mutation up to date"
        file.write_text(whole.replace(text, instead))
    return originals


def is_noticed(tree, edits, tests):
    build(tree)
    say("  unchanged:")
    assert passes(tree, tests), "the tests fail without any mutation"
    originals = mutate(tree, edits)
    try:
        build(tree)
        say("  mutated:")
        return not passes(tree, tests)
    finally:
        for path, text in originals.items():
            (tree / path).write_text(text)


def main(chosen):
    unnoticed, untried = [], []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("build", ".git"))
        subprocess.run(["meson", "setup", "-Dwerror=true", "-Ddebug=false", tree / BUILD, tree], check=True,
                       stdout=subprocess.DEVNULL)
        for name in chosen or MUTATIONS:
            promise, edits, tests = MUTATIONS[name]
            say(f"{name}: {promise}")
            try:
                if not is_noticed(tree, edits, tests):
                    unnoticed.append(name)
            except (AssertionError, subprocess.CalledProcessError) as error:
                say(f"    cannot be tried: {error}")
                untried.append(name)
    noticed = len(chosen or MUTATIONS) - len(unnoticed) - len(untried)
    say(f"{noticed} noticed, {len(unnoticed)} not, {len(untried)} could not be tried"
        + "".join(f"\n  {name}" for name in unnoticed + untried))
    return 1 if unnoticed or untried else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
