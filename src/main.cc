#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "cli/command_line.h"

// Started without its standard descriptors, a program would get their numbers for its own files,
// and write its messages into them. What holds their place cannot be written: a result that goes
// nowhere is told.
static bool hold_standard_descriptors() {
  int fd;
  do {
    fd = ::open("/dev/null", O_RDONLY);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  return fd >= 0 && ::close(fd) == 0;
}

int main(int argc, char** argv) {
  if (!hold_standard_descriptors()) return 1;
  ::signal(SIGCHLD, SIG_DFL);  // inherited as ignored, children would vanish without a word
  // Beyond a limit (ulimit -f) a write fails, as on a file system that has one: a cause to be told.
  ::signal(SIGXFSZ, SIG_IGN);
  // Whoever reads what is printed may leave: writes fail then, and are told where they matter.
  ::signal(SIGPIPE, SIG_IGN);
  return gigafetch::cli::run(argc, argv);
}
