#include <fcntl.h>
#include <unistd.h>

#include "cli/command_line.h"

// Started without its standard descriptors, a program would get their numbers for its own files,
// and write its messages into them.
static bool hold_standard_descriptors() {
  int fd;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd <= STDERR_FILENO);
  return fd >= 0 && ::close(fd) == 0;
}

int main(int argc, char** argv) {
  if (!hold_standard_descriptors()) return 1;
  return gigafetch::cli::run(argc, argv);
}
