// From what a person wrote as a model or a tokenizer to its files, by the settings; fetched where they are not here.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "cli/context.h"
#include "data/program/tokenizer_file.h"

namespace moebox::python {

/// Keys of the table of settings (cli/settings.h) and their values, as one would write them.
using SettingValues = std::map<std::string, std::string>;

/// The settings of file and environment, as the command has them. Throws Error.
cli::Context make_context();
/// Sets what a caller asked for; errors name the key. Throws Error(invalid_argument).
void set(cli::Settings& settings, const SettingValues& values);

/// The files of a model; with a bar on stderr where they are to be fetched. To be called with the interpreter's lock.
std::filesystem::path find_model(const cli::Context& context, const std::string& name);
/// A tokenizer and its template by a model's name, file or folder.
data::NamedTokenizer find_tokenizer(const std::string& name);

}  // namespace moebox::python
