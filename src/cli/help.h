// How --help looks: usage, what the command does, its options by topic, wrapped to 80 columns.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace gigafetch::cli {

class HelpFormatter final : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
};

}  // namespace gigafetch::cli
