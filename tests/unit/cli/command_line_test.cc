#include "cli/command_line.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "base/temp_folder.h"

using namespace gigafetch;

namespace {

struct Ran {
  int status = -1;
  std::string out, err;
};

// Runs the command line in a child, with both outputs in files.
Ran run(std::vector<std::string> arguments) {
  TempFolder folder;
  Ran ran;
  // What is still buffered would be written by the child as well.
  std::cout.flush();
  std::fflush(nullptr);
  ran.status = in_child([&] {
    ::dup2(::open((folder / "out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDOUT_FILENO);
    ::dup2(::open((folder / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDERR_FILENO);
    std::vector<char*> argv;
    arguments.insert(arguments.begin(), "gigafetch");
    for (std::string& argument : arguments)
      argv.push_back(argument.data());
    argv.push_back(nullptr);
    const int status = cli::run(static_cast<int>(arguments.size()), argv.data());
    std::fflush(nullptr);
    return status;
  });
  ran.out = read_file(folder / "out");
  ran.err = read_file(folder / "err");
  return ran;
}

}  // namespace

TEST_CASE("help and version go to standard output, with success") {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                    {"-h"},
                                                    {"fetch", "--help"},
                                                    {"ls", "--help"},
                                                    {"verify", "--help"},
                                                    {"origin", "--help"},
                                                    {"demo", "--help"}}) {
    const Ran ran = run(arguments);
    CHECK(ran.status == 0);
    CHECK(ran.out.find("gigafetch") != std::string::npos);
    CHECK(ran.err.empty());
  }
  const Ran version = run({"--version"});
  CHECK(version.status == 0);
  CHECK(version.out == "gigafetch " GIGAFETCH_VERSION "\n");
}

TEST_CASE("help is no wider than a terminal") {
  for (const char* command : {"fetch", "ls", "verify", "origin", "demo"}) {
    const std::string text = run({command, "--help"}).out;
    CAPTURE(std::string(command));
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      REQUIRE(end != std::string::npos);
      CHECK_MESSAGE(end - begin <= 80, text.substr(begin, end - begin));
      begin = end + 1;
    }
  }
}

TEST_CASE("wrong usage is told on standard error, with the status for it") {
  const std::string url = "http://127.0.0.1:1";
  TempFolder folder;
  // Its parent is missing: a command line that is taken by mistake ends here, with another status.
  const std::string out = folder / "missing/out";
  const std::string nobody = "192.0.2.1:1";  // no address of this host (RFC 5737)
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{},
        {"nonsense"},
        {"fetch"},
        {"fetch", url},
        {"fetch", url, out, "surplus"},
        {"fetch", url, out, "--nonsense"},
        {"fetch", url, out, "--workers", "0"},
        {"fetch", url, out, "--workers", "1025"},
        {"fetch", url, out, "--connections", "0"},
        {"fetch", url, out, "--pipeline", "0"},
        {"fetch", url, out, "--pipeline", "1025"},
        {"fetch", url, out, "--pipeline", "many"},
        {"fetch", url, out, "--batch", "0"},
        {"fetch", url, out, "--batch", "100001"},
        {"fetch", url, out, "--rate", "-1"},
        {"fetch", url, out, "--rate", "0"},
        {"fetch", url, out, "--layout", "round"},
        {"fetch", url, out, "--durability", "eternal"},
        {"fetch", url, out, "--sink", "drain"},
        {"fetch", url, out, "--repair", "--repair=maybe"},
        {"fetch", url, out, "--retry-failed=maybe"},
        {"fetch", url, out, "--api", "morse"},
        {"fetch", url, out, "--limit", "-1"},
        {"fetch", url, out, "--limit", "x"},
        {"fetch", url, out, "--max-file-size", "big"},
        {"fetch", url, out, "--max-file-size", "-1"},
        {"fetch", url, out, "--connect-timeout", "0"},
        {"fetch", url, out, "--log-level", "loud"},
        {"fetch", url, out, "--progress", "slow"},
        {"fetch", url, out, "--header", "no colon"},
        {"fetch", "ftp://127.0.0.1", out},
        {"ls"},
        {"ls", "nonsense"},
        {"verify", url},
        {"origin", "--listen", "nonsense"},
        {"origin", "--listen", "localhost:0"},
        {"origin", "--listen", nobody, "--size", "-1"},
        {"origin", "--page-size", "0"},
        {"origin", "--error-rate", "1.5"},
        {"demo", "--files", "0"}}) {
    std::string line;
    for (const std::string& argument : arguments)
      line += argument + " ";
    CAPTURE(line);
    const Ran ran = run(arguments);
    CHECK(ran.status == 2);
    CHECK(ran.out.empty());
    CHECK(ran.err.starts_with("gigafetch"));
  }
}
