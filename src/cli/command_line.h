// Reads the command line and runs the command it names.
#pragma once

namespace gigafetch::cli {

// Returns the program's exit status.
int run(int argc, char** argv);

}  // namespace gigafetch::cli
