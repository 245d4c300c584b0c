// A recipe for data, a TOML file: what to read, what to leave out, how to write. Strict: a key that is not known, or a
// value of another type, is an error that names file, line and key.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/build/build.h"
#include "data/program/tokenizer_file.h"

namespace moebox::data {

/// What a recipe says; the tokenizer by its name only. Paths in it are relative to the recipe's folder.
struct Recipe {
  std::string tokenizer;  // name, file or folder
  std::string end_token;  // empty: the tokenizer's own
  BuildOptions options;   // without the tokenizer and its tokens
};

/// Throws Error(invalid_argument) with file, line and key; Error(not_found) for a recipe or sources that are not there.
Recipe read_recipe(const std::filesystem::path& path);
/// The same of a text; `path` names it in errors, and paths are relative to its folder.
Recipe parse_recipe(const std::string& text, const std::filesystem::path& path);

/// What decides the result, for the manifest.
nlohmann::ordered_json recipe_settings(const Recipe& recipe);

/// A recipe of inputs alone: each is read by its ending, folders as code; its domain is `domain`.
Recipe recipe_of(const std::vector<std::string>& inputs, const std::string& domain);

/// What a person says beside a recipe, or instead of one.
struct BuildRequest {
  std::vector<std::string> inputs;                         // one recipe (.toml), or files and folders
  std::string tokenizer, out, domain = "text", end_token;  // empty: the recipe's
  double held_out = -1;                                    // below 0: the recipe's
};
/// The recipe, or one of the inputs alone, with what the request says in its place. Throws Error as read_recipe() does.
Recipe recipe_for(const BuildRequest& request);
void apply(const BuildRequest& request, Recipe& recipe);

/// Everything that build_dataset() needs but threads and progress. Throws Error(invalid_argument).
BuildOptions build_options(Recipe recipe, const NamedTokenizer& tokenizer);

}  // namespace moebox::data
