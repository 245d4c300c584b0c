#include "cli/profile.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <span>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/thread_team.h"
#include "base/xxh64.h"
#include "io/checkpoint.h"
#include "kernels/kernels.h"

namespace moebox::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 6> profile_keys{"threads",   "kv_type",       "server.batch_tokens",
                                                       "moe_top_p", "moe_threshold", "moe_max_experts"};

/// "AMD EPYC 9005 96-Core Processor"; "processor" where the system does not say.
std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "processor";
}

/// The model's files as they are now, in one word.
std::string fingerprint(const fs::path& model) { return fmt::format("{:016x}", Checkpoint::open(model).identity()); }

/// TOML's basic string; JSON's escapes are among its own.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string value_text(const std::string& key, const std::string& value) {
  const SettingType type = find_setting(key)->type;
  return type == SettingType::integer || type == SettingType::number ? value : quoted(value);
}

}  // namespace

std::string machine_name() {
  const int n = usable_processors();
  return fmt::format("{}, {} processor{}, {}", processor_name(), n, n == 1 ? "" : "s", name(kernel_table().isa));
}

fs::path profile_file(const fs::path& model) {
  const fs::path whole = fs::weakly_canonical(model);
  const std::string text = whole.string();
  return fs::path(state_folder()) / "profiles" /
         fmt::format("{}-{:016x}.toml", whole.stem().string(), xxh64(std::as_bytes(std::span(text))));
}

bool is_profile_key(std::string_view key) {
  return std::find(profile_keys.begin(), profile_keys.end(), key) != profile_keys.end();
}

void write_profile(const fs::path& model, const std::string& machine, const ProfileSettings& settings) {
  std::string top, server;
  for (const auto& [key, value] : settings) {
    if (!is_profile_key(key)) throw Error(ErrorKind::internal, "a profile cannot set it", key);
    const bool of_server = key.starts_with("server.");
    (of_server ? server : top) +=
        fmt::format("{} = {}\n", of_server ? key.substr(key.find('.') + 1) : key, value_text(key, value));
  }
  const std::string text = fmt::format(
      "# Written by `moebox optimize`. `moebox optimize MODEL --forget` removes it.\n{}{}\n[profile]\nmodel = {}\n"
      "fingerprint = \"{}\"\nmachine = {}\n",
      top, server.empty() ? "" : "\n[server]\n" + server, quoted(model.string()), fingerprint(model), quoted(machine));
  const fs::path file = profile_file(model);
  std::error_code problem;
  fs::create_directories(file.parent_path(), problem);
  fs::path part = file;
  part += fmt::format(".{}.part", ::getpid());
  {
    std::ofstream out(part, std::ios::binary);
    out << text;
    if (!out.flush()) throw Error(ErrorKind::io, "cannot be written", part.string(), "check rights and free space");
  }
  fs::rename(part, file, problem);
  if (problem) {
    fs::remove(part, problem);
    throw Error(ErrorKind::io, "cannot be written", file.string(), "check rights and free space");
  }
}

bool apply_profile(Settings& settings, const fs::path& model, const Console& console) {
  const fs::path file = profile_file(model);
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return false;
  constexpr std::size_t largest_file = std::size_t{1} << 16;
  const std::string name = file.string();
  std::string machine, print;
  Settings taken = settings;
  for (const FileSetting& entry : parse_settings_file(read_all(name, largest_file), name)) {
    if (entry.key == "profile.machine") machine = entry.value;
    if (entry.key == "profile.fingerprint") print = entry.value;
    if (entry.key.starts_with("profile.")) continue;
    const std::string place = fmt::format("{}:{}", name, entry.line);
    if (!is_profile_key(entry.key) || entry.form != FileSetting::Form::plain)
      throw Error(ErrorKind::invalid_argument, fmt::format("a profile does not set '{}'", printable(entry.key)), place,
                  "remove the file; 'moebox optimize' writes a new one");
    taken.set(entry.key, entry.value, Origin::profile, place);
  }
  const bool same_machine = machine == machine_name();
  if (!same_machine || print != fingerprint(model)) {
    console.dim(fmt::format("the profile {} is left out: it was made {}; 'moebox optimize' makes a new one\n",
                            printable(name), same_machine ? "for other files" : "on another machine"));
    return false;
  }
  settings = std::move(taken);
  return true;
}

}  // namespace moebox::cli
