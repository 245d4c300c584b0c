// A recipe for data, a TOML file: what to read, what to leave out, how to write. Strict: a key that is not known, or a
// value of another type, is an error that names file, line and key.
#pragma once

#include <filesystem>
#include <string>

#include "data/build/build.h"

namespace moebox::data {

/// What a recipe says; the tokenizer by its name only. Paths in it are relative to the recipe's folder.
struct Recipe {
  std::string tokenizer;  // name, file or folder
  std::string end_token;  // empty: the tokenizer's own
  BuildOptions options;   // without the tokenizer and its tokens
};

/// Throws Error(invalid_argument) with file, line and key; Error(not_found) for a recipe or sources that are not there.
Recipe read_recipe(const std::filesystem::path& path);

/// What decides the result, for the manifest.
nlohmann::ordered_json recipe_settings(const Recipe& recipe);

/// A recipe of inputs alone: each is read by its ending, folders as code; its domain is `domain`.
Recipe recipe_of(const std::vector<std::string>& inputs, const std::string& domain);

}  // namespace moebox::data
