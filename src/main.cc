#include "cli/command_line.h"

int main(int argc, char** argv) {
  return gigafetch::cli::run(argc, argv);
}
