#include "data/program/recipe_file.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "cli/console.h"
#include "cli/settings.h"
#include "data/build/encode.h"
#include "data/program/toml_table.h"

#if defined(MOEBOX_PARQUET)
#include "data/parquet/parquet_reader.h"
#endif

namespace moebox::data {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_recipe_bytes = std::size_t{1} << 20;

/// A size such as "8MiB", in bytes.
std::size_t size_of(TomlTable& table, const char* key, std::size_t fallback) {
  const std::string text = table.text(key, "");
  if (text.empty()) return fallback;
  static constexpr std::pair<std::string_view, std::size_t> units[] = {
      {"kB", 1000},  {"MB", 1000 * 1000},  {"GB", 1000ull * 1000 * 1000},
      {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024ull * 1024 * 1024}};
  for (const auto& [unit, factor] : units) {
    if (!text.ends_with(unit)) continue;
    const std::string digits = text.substr(0, text.size() - unit.size());
    if (digits.empty() || digits.size() > 6 ||
        !std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; }))
      break;
    const std::size_t bytes = std::stoull(digits) * factor;
    if (bytes >= 1000 && bytes <= 250ull * 1000 * 1000) return bytes;
  }
  table.refuse(key, "a size from 1kB to 250MB such as 8MiB");
}

fs::path beside(const fs::path& recipe, const std::string& path) {
  return fs::path(path).is_absolute() ? fs::path(path) : recipe.parent_path() / path;
}

SourceOptions read_source(const toml::table& node, const fs::path& recipe) {
  TomlTable table(node, recipe.string(), "source");
  const std::vector<std::string> patterns = table.texts("path");
  const std::size_t format = table.choice("format", 4, {"text", "jsonl", "code", "parquet"});
  SourceOptions source;
  source.unit = static_cast<TextUnit>(table.choice("document", 0, {"file", "line", "blank_line"}));
  source.messages = table.text("messages", "");
  source.field = table.text("field", "text");
  source.domain = table.text("domain", "text");
  source.level = static_cast<Level>(table.choice("level", 0, {"general", "domain", "synthetic"}));
  source.weight = table.number("weight", 0, 1e9);
  table.finish();
  if (patterns.empty()) table.refuse("path", "a file, a folder or a pattern");
  for (const std::string& pattern : patterns) {
    const auto files = find_files(beside(recipe, pattern).string(), format == 2);
    source.files.insert(source.files.end(), files.begin(), files.end());
  }
  source.format = format < 4 ? static_cast<SourceFormat>(format) : format_of(source.files.front());
  if (format == 4)
    for (const fs::path& file : source.files)
      if (format_of(file) != source.format)
        table.refuse("path", fmt::format("files of one format ({} and {} have two: say format, or make two sources)",
                                         source.files.front().filename().string(), file.filename().string()));
  if (!source.messages.empty() && source.format != SourceFormat::jsonl)
    table.refuse("messages", "nothing: only JSONL has messages");
  return source;
}

nlohmann::ordered_json filters_json(const FilterOptions& filters) {
  return {{"invalid_utf8", filters.invalid_utf8 == InvalidUtf8::drop ? "drop" : "replace"},
          {"unicode", filters.nfc ? "nfc" : "as_it_is"},
          {"mask_pii", filters.mask_pii},
          {"quality", filters.quality},
          {"languages", filters.languages},
          {"exact_duplicates", filters.exact_duplicates},
          {"near_duplicates", filters.near_duplicates},
          {"empty_mask", filters.drop_empty_masks ? "drop" : "error"}};
}

std::unique_ptr<RecordReader> open_parquet(const SourceOptions& source, const RecordLimits& limits) {
#if defined(MOEBOX_PARQUET)
  return read_parquet(source, limits);
#else
  static_cast<void>(limits);
  throw Error(ErrorKind::unsupported, "this moebox-data was built without Parquet", source.files.front().string(),
              "in the sources: scripts/prepare parquet, and configure with -DMOEBOX_PARQUET=ON");
#endif
}

}  // namespace

Recipe read_recipe(const fs::path& path) { return parse_recipe(cli::read_all(path.string(), max_recipe_bytes), path); }

Recipe parse_recipe(const std::string& text, const fs::path& path) {
  cli::refuse_long_keys(text, path.string());
  toml::table document;
  try {
    document = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::invalid_argument, fmt::format("is not valid TOML: {}", error.description()),
                fmt::format("{}:{}", path.string(), error.source().begin.line));
  }
  Recipe recipe;
  BuildOptions& options = recipe.options;
  TomlTable table(document, path.string(), "");
  recipe.tokenizer = table.text("tokenizer", "");
  if (!recipe.tokenizer.empty() && fs::exists(beside(path, recipe.tokenizer)))
    recipe.tokenizer = beside(path, recipe.tokenizer).string();  // what is not there is a model's name
  recipe.end_token = table.text("end_token", "");
  if (const std::string out = table.text("out", ""); !out.empty()) options.out = beside(path, out);
  options.shard_tokens = table.integer("shard_tokens", options.shard_tokens, 1000, std::int64_t{1} << 30);
  options.held_out = table.number("held_out", 0, 0.5).value_or(0);
  options.limits.document_bytes = size_of(table, "max_document", options.limits.document_bytes);
  options.limits.line_bytes = size_of(table, "max_line", options.limits.line_bytes);
  const auto sources = table.tables("source");
  const toml::table* filters = table.table("filters");
  table.finish();
  if (filters != nullptr) {
    TomlTable filter(*filters, path.string(), "filters");
    FilterOptions& wanted = options.filters;
    wanted.invalid_utf8 = static_cast<InvalidUtf8>(filter.choice("invalid_utf8", 0, {"replace", "drop"}));
    wanted.nfc = filter.choice("unicode", 0, {"as_it_is", "nfc"}) == 1;
    wanted.mask_pii = filter.flag("mask_pii", false);
    wanted.quality = filter.flag("quality", false);
    wanted.languages = filter.texts("languages");
    wanted.exact_duplicates = filter.flag("exact_duplicates", true);
    wanted.near_duplicates = filter.number("near_duplicates", 0.5, 1).value_or(0);
    wanted.drop_empty_masks = filter.choice("empty_mask", 0, {"error", "drop"}) == 1;
    filter.finish();
  }
  for (const toml::table* source : sources) options.sources.push_back(read_source(*source, path));
  if (options.sources.empty()) table.refuse("source", "at least one [[source]]");
  return recipe;
}

nlohmann::ordered_json recipe_settings(const Recipe& recipe) {
  const BuildOptions& options = recipe.options;
  nlohmann::ordered_json sources = nlohmann::ordered_json::array();
  for (const SourceOptions& source : options.sources) {
    nlohmann::ordered_json files = nlohmann::ordered_json::array();
    for (const fs::path& file : source.files) files.push_back(file.filename().string());
    constexpr std::string_view formats[] = {"text", "jsonl", "code", "parquet"};
    sources.push_back(
        {{"domain", source.domain}, {"format", formats[static_cast<std::size_t>(source.format)]}, {"files", files}});
  }
  return {{"tokenizer", recipe.tokenizer},
          {"shard_tokens", options.shard_tokens},
          {"held_out", options.held_out},
          {"max_document", options.limits.document_bytes},
          {"max_line", options.limits.line_bytes},
          {"filters", filters_json(options.filters)},
          {"sources", sources}};
}

Recipe recipe_of(const std::vector<std::string>& inputs, const std::string& domain) {
  Recipe recipe;
  for (const std::string& input : inputs) {
    std::error_code ignored;
    const bool folder = fs::is_directory(input, ignored);
    SourceOptions source;
    source.files = find_files(input, folder);
    source.format = folder ? SourceFormat::code : format_of(source.files.front());
    source.domain = domain;
    recipe.options.sources.push_back(std::move(source));
  }
  return recipe;
}

Recipe recipe_for(const BuildRequest& request) {
  const bool is_recipe = request.inputs.size() == 1 && request.inputs[0].ends_with(".toml");
  Recipe recipe = is_recipe ? read_recipe(request.inputs[0]) : recipe_of(request.inputs, request.domain);
  apply(request, recipe);
  return recipe;
}

void apply(const BuildRequest& request, Recipe& recipe) {
  if (!request.tokenizer.empty()) recipe.tokenizer = request.tokenizer;
  if (!request.end_token.empty()) recipe.end_token = request.end_token;
  if (!request.out.empty()) recipe.options.out = request.out;
  if (request.held_out >= 0) recipe.options.held_out = request.held_out;
  if (recipe.options.out.empty())
    throw Error(ErrorKind::invalid_argument, "expected the folder to write", "out",
                "write it in the recipe, or give --out");
}

BuildOptions build_options(Recipe recipe, const NamedTokenizer& tokenizer) {
  nlohmann::ordered_json settings = recipe_settings(recipe);
  BuildOptions options = std::move(recipe.options);
  options.tokenizer = tokenizer.tokenizer;
  options.chat_template = tokenizer.chat_template;
  options.end_token = find_end_token(*tokenizer.tokenizer, recipe.end_token);
  options.settings = std::move(settings);
  options.open_other = open_parquet;
  return options;
}

}  // namespace moebox::data
