#include "cli/companion.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

#include <fmt/core.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/verbs.h"

namespace moebox::cli {
namespace {

constexpr std::array table = {
    Companion{.verb = "data",
              .program = "moebox-data",
              .description = "Shards of tokens for training, from text, JSONL, Parquet and code",
              .actions = "build|check|report",
              .examples = "moebox data build recipe.toml\n"
                          "moebox data check shards/\n"
                          "moebox data build --help",
              .build = "ninja -C build/release moebox-data"},
    Companion{.verb = "tokenizer",
              .program = "moebox-data",
              .description = "Train a tokenizer on text",
              .actions = "train",
              .examples = "moebox tokenizer train --vocabulary 8192 --out tokenizer/ texts/*.txt\n"
                          "moebox tokenizer train --help",
              .build = "ninja -C build/release moebox-data"},
    Companion{.verb = "train",
              .program = "moebox-train",
              .description = "Train a model by a recipe",
              .actions = "",
              .examples = "moebox train recipe.toml\n"
                          "moebox train recipe.toml --check\n"
                          "moebox train recipe.toml --resume\n"
                          "moebox train recipe.toml --devices 0,1\n"
                          "moebox train --help",
              .build = "make train"},
    Companion{.verb = "verify",
              .program = "moebox-train",
              .description = "Check that a training run is what its log says",
              .actions = "",
              .examples = "moebox verify run/\n"
                          "moebox verify run/ --step 120\n"
                          "moebox verify run/ --all",
              .build = "make train"},
};

/// What stands from the verb on: before it, only options of moebox itself are possible.
std::vector<std::string> arguments_from(const std::vector<std::string>& all, std::string_view verb) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] == "--config") {
      ++i;  // its value may be any word
    } else if (all[i] == verb) {
      return {all.begin() + static_cast<std::ptrdiff_t>(i), all.end()};
    }
  }
  throw Error(ErrorKind::internal, fmt::format("the verb '{}' is not on the command line", verb));
}

}  // namespace

std::span<const Companion> companions() { return table; }

const Companion* find_companion(std::string_view verb) {
  for (const Companion& companion : table)
    if (companion.verb == verb) return &companion;
  return nullptr;
}

std::filesystem::path companion_path(const Companion& companion) {
  std::error_code unknown;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", unknown);
  const auto path = self.parent_path() / companion.program;
  if (unknown || ::access(path.c_str(), X_OK) != 0) {
    throw Error(ErrorKind::unsupported,
                fmt::format("'moebox {}' needs the program {}, which is not beside this one", companion.verb,
                            companion.program),
                path.string(), fmt::format("in the sources: {}", companion.build));
  }
  return path;
}

void become(const Companion& companion, const std::vector<std::string>& arguments) {
  const auto path = companion_path(companion);
  std::string name = path.string();
  std::vector<std::string> words = arguments;
  std::vector<char*> argv = {name.data()};
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(name.c_str(), argv.data());
  throw Error(ErrorKind::io, fmt::format("cannot be started: {}", std::strerror(errno)), name);
}

void add_companions(CLI::App& program, Context& context) {
  for (const Companion& companion : table) {
    CLI::App* verb = add_verb(program, std::string(companion.verb), std::string(companion.description),
                              std::string(companion.examples));
    verb->prefix_command();
    const auto start = [&context, &companion] {
      // The companion reads the settings itself.
      if (!context.settings_file.empty()) ::setenv("MOEBOX_CONFIG", context.settings_file.c_str(), 1);
      become(companion, arguments_from(context.arguments, companion.verb));
      return 0;
    };
    on_chosen(verb, context, start, false);
  }
}

}  // namespace moebox::cli
