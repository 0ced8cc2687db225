// How a file system that folds names finds a file, for the two that the tests have: the shim
// (shim.cc) and a real mount (folding_fs.cc).
//
// Rules, with commas between them:
//   case    takes letters for one whatever their case (of ASCII, and e with an acute accent)
//   form    takes e with an acute accent for the two characters that it can be written with
//   nfd     stores those two characters
//   trims   drops dots and spaces at the end
//   colon   refuses names with a colon, as vfat does
#pragma once

#include <dirent.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace folding {

inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size())
    text.replace(at, from.size(), to);
}

class Rules {
 public:
  explicit Rules(std::string_view text) : text_("," + std::string(text) + ",") {}

  bool refuses(std::string_view component) const {
    return has("colon") && component.find(':') != component.npos;
  }

  // What `component` is called in the folder `folder`, as `listing` has it: an entry that is taken
  // for it, or what a new one would be called.
  std::string find(const std::string& folder, std::string_view component,
                   DIR* (*open_folder)(const char*)) const {
    std::string wanted(component);
    if (component == "." || component == "..") return wanted;
    const std::string folded = fold(wanted);
    std::string found;
    if (DIR* const dir = open_folder(folder.c_str()); dir != nullptr) {
      while (const dirent* entry = ::readdir(dir)) {
        if (fold(entry->d_name) == folded) found = entry->d_name;
      }
      ::closedir(dir);
    }
    return found.empty() ? respell(wanted) : found;
  }

  // The path below `root` (which stays as it is), each component of it found.
  std::string find_path(const std::string& root, std::string_view path,
                        DIR* (*open_folder)(const char*)) const {
    std::string found;
    while (!path.empty()) {
      const std::string_view component = path.substr(0, path.find('/'));
      path.remove_prefix(component.size());
      if (!component.empty()) found += find(root + "/" + found, component, open_folder);
      while (path.starts_with('/')) {
        found += '/';
        path.remove_prefix(1);
      }
    }
    return found;
  }

 private:
  bool has(std::string_view rule) const {
    return text_.find("," + std::string(rule) + ",") != text_.npos;
  }

  std::string respell(std::string name) const {
    while (has("trims") && name.size() > 1 && (name.back() == '.' || name.back() == ' '))
      name.pop_back();
    if (has("nfd")) replace_all(name, "\u00e9", "e\u0301");
    return name;
  }

  std::string fold(std::string name) const {
    name = respell(name);
    if (has("form")) replace_all(name, "\u00e9", "e\u0301");
    if (!has("case")) return name;
    replace_all(name, "\u00c9", "\u00e9");
    for (char& c : name)
      c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return name;
  }

  std::string text_;
};

}  // namespace folding
