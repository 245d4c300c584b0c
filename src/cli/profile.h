// What `moebox optimize` found best for one model on this machine: a few settings in a file of their own, which `run`
// and `serve` take where nothing stronger says otherwise.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "cli/console.h"
#include "cli/settings.h"

namespace moebox::cli {

/// Keys of the table of settings and their values.
using ProfileSettings = std::map<std::string, std::string>;

/// "AMD EPYC 9005, 2 processors, avx512_bf16": what a profile is good for, and no other.
std::string machine_name();

/// The model's profile, whether it is there or not: in the folder for state, named after the model's path.
std::filesystem::path profile_file(const std::filesystem::path& model);

/// Whether a profile may set it.
bool is_profile_key(std::string_view key);

/// Writes the profile, whole or not at all. Throws Error(io).
void write_profile(const std::filesystem::path& model, const std::string& machine, const ProfileSettings& settings);

/// Takes the model's profile into `settings`, as Origin::profile. False where there is none, and, with a word on the
/// console, where it was made on another machine or for another file of that name. Throws Error for a file that is no
/// profile.
bool apply_profile(Settings& settings, const std::filesystem::path& model, const Console& console);

}  // namespace moebox::cli
