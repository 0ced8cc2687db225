#include "cli/help.h"

#include <string_view>
#include <vector>

namespace gigafetch::cli {
namespace {

constexpr size_t kWidth = 80;
constexpr size_t kColumn = 28;

// Appends `text`, wrapped, with every line but the first indented to the column; the first begins
// at column `at`.
void append_wrapped(std::string& out, std::string_view text, size_t at) {
  size_t column = at;
  while (!text.empty()) {
    const size_t space = text.find(' ');
    const std::string_view word = text.substr(0, space);
    if (column > kColumn && column + 1 + word.size() > kWidth) {
      out += '\n';
      out.append(kColumn, ' ');
      column = kColumn;
    } else if (column > kColumn) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    text = space == text.npos ? std::string_view() : text.substr(space + 1);
  }
  out += '\n';
}

void append_row(std::string& out, const std::string& left, const std::string& right) {
  std::string row = "  " + left;
  if (row.size() + 2 > kColumn) {
    out += row + "\n";
    row.clear();
  }
  row.resize(kColumn, ' ');
  out += row;
  append_wrapped(out, right, kColumn);
}

std::string left_of(const CLI::Option& option) {
  if (option.get_positional()) return option.get_name(true);
  std::string left = option.get_name(false, true);
  for (size_t comma = left.find(','); comma != left.npos; comma = left.find(',', comma + 2)) {
    left.insert(comma + 1, 1, ' ');
  }
  const std::string type = option.get_type_name();
  return type.empty() ? left : left + " " + type;
}

std::string right_of(const CLI::Option& option) {
  const std::string value = option.get_default_str();
  return value.empty() ? option.get_description() : option.get_description() + " [" + value + "]";
}

void append_options(std::string& out, const std::string& heading,
                    const std::vector<const CLI::Option*>& options) {
  if (options.empty()) return;
  out += "\n" + heading + ":\n";
  for (const CLI::Option* option : options)
    append_row(out, left_of(*option), right_of(*option));
}

std::string usage(const CLI::App& app, const std::string& name) {
  std::string out = "Usage: " + name;
  if (!app.get_subcommands({}).empty()) return out + " COMMAND [OPTION]...\n";
  out += " [OPTION]...";
  for (const CLI::Option* option :
       app.get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    out += " " + option->get_name(true);
  }
  return out + "\n";
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app, std::string name,
                                     CLI::AppFormatMode) const {
  const CLI::App* parent = app->get_parent();
  if (parent != nullptr) name = parent->get_name() + " " + app->get_name();
  std::string out = usage(*app, name) + app->get_description() + "\n";
  append_options(out, "Arguments",
                 app->get_options([](const CLI::Option* o) { return o->get_positional(); }));
  const auto commands = app->get_subcommands({});
  if (!commands.empty()) out += "\nCommands:\n";
  for (const CLI::App* command : commands) {
    append_row(out, command->get_name(), command->get_description());
  }
  for (const std::string& group : app->get_groups()) {
    append_options(out, group, app->get_options([&](const CLI::Option* option) {
      return !option->get_positional() && option->get_group() == group;
    }));
  }
  if (parent != nullptr && parent->get_config_ptr() != nullptr) {
    append_options(out, "Options from a file", {parent->get_config_ptr()});
  }
  const std::string footer = app->get_footer();
  return footer.empty() ? out : out + "\n" + footer + "\n";
}

}  // namespace gigafetch::cli
