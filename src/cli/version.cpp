// moebox version.
#include "cli/version.h"

#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/verbs.h"
#include "kernels/kernels.h"

namespace moebox::cli {
namespace {

#if defined(__x86_64__)
constexpr std::string_view machine = "x86-64";
#elif defined(__aarch64__)
constexpr std::string_view machine = "arm64";
#else
constexpr std::string_view machine = "other";
#endif

#if defined(MOEBOX_EDGE)
constexpr bool has_server = false;
#else
constexpr bool has_server = true;
#endif

#if defined(__clang__)
constexpr std::string_view compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr std::string_view compiler = "gcc " __VERSION__;
#else
constexpr std::string_view compiler = "unknown";
#endif

int print_version(const Context& context, bool json) {
  if (!json) {
    context.console.out(version_line() + "\n");
    return exit_ok;
  }
  nlohmann::ordered_json object = {
      {"version", version_number()}, {"machine", machine}, {"server", has_server}, {"compiler", compiler}};
  object["instruction_sets"] = nlohmann::ordered_json::array();
  for (const Isa isa : available_isas()) object["instruction_sets"].push_back(name(isa));
  context.console.out(json_text(object) + "\n");
  return exit_ok;
}

}  // namespace

std::string version_line() {
  const auto isas = available_isas();
  return fmt::format("moebox {} ({}, {}{})", version_number(), machine, isas.empty() ? "?" : name(isas.back()),
                     has_server ? "" : ", edge: no server");
}

void add_version(CLI::App& program, Context& context) {
  CLI::App* verb =
      add_verb(program, "version", "Version and instruction sets", "moebox version\nmoebox version --json");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "print a JSON object");
  on_chosen(verb, context, [&context, json] { return print_version(context, *json); }, false);
}

}  // namespace moebox::cli
