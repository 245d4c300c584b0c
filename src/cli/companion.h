// Programs of the house that `moebox` starts for some of its verbs: they link what the engine does without (LibTorch,
// Parquet), which is large and slow to load. They lie beside it.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moebox::cli {

struct Companion {
  std::string_view verb;         // of moebox: "data"
  std::string_view program;      // the file's name: "moebox-data"
  std::string_view description;  // of the verb
  std::string_view actions;      // the words that may follow the verb, for completion: "build|check"; empty: none
  std::string_view examples;     // one a line
  std::string_view build;        // the command that builds it from the sources
};

std::span<const Companion> companions();
/// The entry of `verb` or nullptr.
const Companion* find_companion(std::string_view verb);

/// The companion's file beside the running program. Throws Error(unsupported) that says how to get it.
std::filesystem::path companion_path(const Companion& companion);

/// Becomes the companion: it gets `arguments` (the verb first, as a person wrote them), the descriptors, the terminal,
/// and its exit code is this program's. Returns only by throwing Error.
[[noreturn]] void become(const Companion& companion, const std::vector<std::string>& arguments);

}  // namespace moebox::cli
