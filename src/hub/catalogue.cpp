#include "hub/catalogue.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <unordered_map>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_problem.h"
#include "hub/source.h"

namespace moebox {
namespace {

using nlohmann::json;

constexpr std::size_t max_catalogue_bytes = 4u << 20;

/// Walks over text and counts the lines that the parser has read so far.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  int* line = nullptr;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    if (*at == '\n') ++*line;
    ++at;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
  bool operator!=(const CountingIterator& other) const { return at != other.at; }
};

/// Reads a catalogue's text for where everything stands. Not by a callback of json::parse(): that looks through an
/// array again for every object in it.
class LineReader final : public json::json_sax_t {
 public:
  using Lines = std::map<std::string, int>;

  /// Stops at what is wrong, which problem() tells.
  void read(std::string_view text) {
    json::sax_parse(CountingIterator{text.data(), &line_}, CountingIterator{text.data() + text.size(), &line_}, this);
  }
  const std::string& problem() const { return problem_; }
  int line() const { return line_; }

  Lines top;                  // of the fields of the whole
  std::vector<Lines> models;  // of the fields of each model, and under "" of the model itself

  bool start_object(std::size_t) override {
    if (depth_++ == 2) models.push_back({{"", line_}});
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ != 1 && (depth_ != 3 || models.empty())) return true;
    const bool is_new = (depth_ == 1 ? top : models.back()).emplace(name, line_).second;
    if (!is_new) problem_ = fmt::format("the field \"{}\" is there twice", printable(name));
    return is_new;
  }
  bool end_object() override { return --depth_ >= 0; }
  bool start_array(std::size_t) override { return ++depth_ >= 0; }
  bool end_array() override { return --depth_ >= 0; }
  bool parse_error(std::size_t, const std::string&, const json::exception& error) override {
    problem_ = fmt::format("not valid JSON: {}", printable(json_problem(error.what())));
    return false;
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

 private:
  std::string problem_;
  int line_ = 1, depth_ = 0;
};

/// A catalogue as JSON, with the line of every model and of every field of it.
class Document {
 public:
  Document(std::string_view text, std::string origin) : origin_(std::move(origin)) {
    LineReader lines;
    lines.read(text);
    if (!lines.problem().empty()) fail(lines.line(), lines.problem());
    top_ = std::move(lines.top);
    models_ = std::move(lines.models);
    root_ = json::parse(text);
  }

  const json& root() const { return root_; }

  int line_of(const std::string& field) const {
    const auto found = top_.find(field);
    return found == top_.end() ? 1 : found->second;
  }
  int line_of(std::size_t model, const std::string& field) const {
    if (model >= models_.size()) return line_of("models");
    const auto found = models_[model].find(field);
    return found == models_[model].end() ? models_[model].at("") : found->second;
  }

  [[noreturn]] void fail(int line, std::string message) const {
    throw Error(ErrorKind::invalid_file, std::move(message), fmt::format("catalogue {}:{}", origin_, line),
                "docs/models.md describes the catalogue");
  }

 private:
  std::string origin_;
  json root_;
  LineReader::Lines top_;
  std::vector<LineReader::Lines> models_;
};

/// Reads the fields of one model; every error names the line and the field.
class EntryReader {
 public:
  EntryReader(const Document& document, std::size_t index)
      : document_(document), index_(index), model_(document.root().at("models").at(index)) {
    if (!model_.is_object()) document_.fail(line(""), fmt::format("models[{}] must be an object", index_));
  }

  std::string text(const std::string& field, bool required, std::size_t max_bytes) {
    known_.insert(field);
    if (!model_.contains(field)) {
      if (required) fail("", fmt::format("the field \"{}\" is missing", field));
      return {};
    }
    const json& value = model_.at(field);
    if (!value.is_string()) fail(field, fmt::format("must be a string, is {}", value.type_name()));
    auto result = value.get<std::string>();
    if (required && result.empty()) fail(field, "must not be empty");
    if (result.size() > max_bytes) fail(field, fmt::format("is longer than {} bytes", max_bytes));
    if (has_control_characters(result)) fail(field, "has control characters");
    return result;
  }

  std::uint64_t count(const std::string& field) {
    known_.insert(field);
    if (!model_.contains(field)) return 0;
    const json& value = model_.at(field);
    if (!value.is_number_unsigned()) fail(field, "must be a whole number of bytes, 0 or above");
    return value.get<std::uint64_t>();
  }

  std::vector<std::string> texts(const std::string& field) {
    known_.insert(field);
    std::vector<std::string> result;
    if (!model_.contains(field)) return result;
    const json& value = model_.at(field);
    if (!value.is_array() || value.size() > 1000) fail(field, "must be an array of at most 1000 strings");
    for (const json& item : value) {
      if (!item.is_string()) fail(field, fmt::format("must hold strings, has {}", item.type_name()));
      result.push_back(item.get<std::string>());
      if (result.back().size() > 100 || has_control_characters(result.back()))
        fail(field, "holds text that is no name");
    }
    return result;
  }

  RoutingBudget budget(const std::string& field) {
    known_.insert(field);
    RoutingBudget result;
    if (!model_.contains(field)) return result;
    const json& value = model_.at(field);
    if (!value.is_object()) fail(field, "must be an object");
    for (const auto& [name, item] : value.items()) {
      const bool counts = name == "min_experts" || name == "max_experts";
      if (!counts && name != "top_p" && name != "threshold")
        fail(field, "has a field that no budget has; these are: top_p, threshold, min_experts, max_experts");
      const Range& range = counts ? moe_experts_range : name == "top_p" ? moe_top_p_range : moe_threshold_range;
      if (!(counts ? item.is_number_integer() : item.is_number()) || !range.contains(item.get<double>()))
        fail(field, fmt::format("{} must be {} {}", name, counts ? "a whole number" : "a number", range.text()));
      if (counts) (name == "min_experts" ? result.min_experts : result.max_experts) = item.get<int>();
      if (!counts) (name == "top_p" ? result.top_p : result.threshold) = item.get<float>();
    }
    return result;
  }

  void refuse_other_fields() {
    for (const auto& [field, value] : model_.items()) {
      if (!known_.contains(field)) {
        std::string known;
        for (const std::string& name : known_) known += (known.empty() ? "" : ", ") + name;
        fail(field, "is not a field of a model; these are: " + known);
      }
    }
  }

  [[noreturn]] void fail(const std::string& field, const std::string& message) const {
    const auto name = field.empty() ? std::string() : "." + std::string(printable(field));
    document_.fail(line(field), fmt::format("models[{}]{}: {}", index_, name, message));
  }

 private:
  int line(const std::string& field) const { return document_.line_of(index_, field); }

  const Document& document_;
  std::size_t index_;
  const json& model_;
  std::set<std::string> known_;
};

bool is_name(std::string_view text) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= 100 && std::isalnum(static_cast<unsigned char>(text.front())) &&
         std::all_of(text.begin(), text.end(), allowed);
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// What a file is called when the catalogue does not say: the last part of its source.
std::string default_file(const std::string& name, const Source& source) {
  if (const auto* hf = std::get_if<HfSource>(&source)) {
    return hf->file.empty() ? name : std::filesystem::path(hf->file).filename().string();
  }
  return std::holds_alternative<PipSource>(source) ? name + ".gguf" : std::string();
}

CatalogueEntry read_entry(const Document& document, std::size_t index, const std::filesystem::path& folder) {
  EntryReader reader(document, index);
  CatalogueEntry entry;
  entry.name = reader.text("name", true, 100);
  entry.source = reader.text("source", true, 4096);
  entry.file = reader.text("file", false, 200);
  entry.size_bytes = reader.count("size_bytes");
  entry.sha256 = reader.text("sha256", false, 64);
  entry.licence = reader.text("licence", false, 200);
  entry.memory_bytes = reader.count("memory_bytes");
  entry.description = reader.text("description", false, 2000);
  entry.languages = reader.texts("languages");
  entry.moe = reader.budget("moe");
  reader.refuse_other_fields();

  if (!is_name(entry.name))
    reader.fail("name", "may hold letters, digits, '.', '_' and '-' only, and begins with a letter or digit");
  if (!entry.sha256.empty() && !is_sha256(entry.sha256))
    reader.fail("sha256", "must be 64 hexadecimal digits in lower case");
  Source source;
  try {
    source = parse_source(entry.source);
  } catch (const Error& e) {
    reader.fail("source", e.message());
  }
  if (const auto* path = std::get_if<PathSource>(&source)) {
    if (path->path.is_relative() && !folder.empty()) entry.source = (folder / path->path).lexically_normal().string();
  }
  if (entry.file.empty()) entry.file = default_file(entry.name, source);
  if (!entry.file.empty() && !is_safe_file_name(entry.file))
    reader.fail("file", "must be a plain file name, without folders");
  return entry;
}

}  // namespace

std::vector<CatalogueEntry> parse_catalogue(std::string_view text, const std::string& origin,
                                            const std::filesystem::path& folder) {
  const Document document(text, origin);
  const json& root = document.root();
  if (!root.is_object()) document.fail(1, "must be an object with \"format\" and \"models\"");
  for (const auto& [field, value] : root.items()) {
    if (field != "format" && field != "models") {
      document.fail(document.line_of(field),
                    fmt::format("\"{}\" is not a field of a catalogue; these are: format, models", printable(field)));
    }
  }
  if (!root.contains("format") || root.at("format") != 1)
    document.fail(document.line_of("format"), "the field \"format\" must be 1");
  if (!root.contains("models") || !root.at("models").is_array()) {
    document.fail(document.line_of("models"), "the field \"models\" must be an array");
  }

  std::vector<CatalogueEntry> entries;
  std::set<std::string> names;
  for (std::size_t i = 0; i < root.at("models").size(); ++i) {
    entries.push_back(read_entry(document, i, folder));
    if (!names.insert(entries.back().name).second) {
      document.fail(document.line_of(i, "name"),
                    fmt::format("models[{}].name: \"{}\" is there twice", i, entries.back().name));
    }
  }
  return entries;
}

std::vector<CatalogueEntry> read_catalogue(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_fifo(path, ignored)) {
    throw Error(ErrorKind::io, "the catalogue cannot be read: expected a file, found a pipe", path.string(),
                "every run reads it anew");
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw Error(errno == ENOENT || errno == ENOTDIR ? ErrorKind::not_found : ErrorKind::io,
                fmt::format("the catalogue cannot be opened: {}", std::strerror(errno)), path.string(),
                "MOEBOX_CATALOGUE and the settings name it");
  }
  std::string text(max_catalogue_bytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad()) {
    throw Error(ErrorKind::io, fmt::format("the catalogue cannot be read: {}", std::strerror(errno)), path.string());
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > max_catalogue_bytes)
    throw Error(ErrorKind::invalid_file, "a catalogue has at most 4 MiB", path.string());
  return parse_catalogue(text, path.string(), std::filesystem::absolute(path).parent_path());
}

void merge_catalogue(std::vector<CatalogueEntry>& entries, std::vector<CatalogueEntry> later) {
  std::unordered_map<std::string, std::size_t> place_of;
  for (std::size_t i = 0; i < entries.size(); ++i) place_of.emplace(entries[i].name, i);
  for (CatalogueEntry& entry : later) {
    const auto [place, is_new] = place_of.emplace(entry.name, entries.size());
    if (is_new) {
      entries.push_back(std::move(entry));
    } else {
      entries[place->second] = std::move(entry);
    }
  }
}

void check_files(const std::vector<CatalogueEntry>& entries, const std::string& origin) {
  std::unordered_map<std::string, const CatalogueEntry*> owner_of;
  for (const CatalogueEntry& entry : entries) {
    if (std::holds_alternative<PathSource>(parse_source(entry.source))) continue;  // lies outside the store
    const CatalogueEntry& owner = *owner_of.emplace(entry.file, &entry).first->second;
    const bool same_bytes = !entry.sha256.empty() && entry.sha256 == owner.sha256;
    if (entry.source == owner.source || same_bytes) continue;
    throw Error(ErrorKind::invalid_file,
                fmt::format("\"{}\" and \"{}\" come from different sources, but would be one file of the store, \"{}\"",
                            owner.name, entry.name, printable(entry.file)),
                "catalogue " + origin, "give one of them another \"file\"");
  }
}

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::vector<std::string> nearest_names(const std::vector<CatalogueEntry>& entries, std::string_view name) {
  constexpr std::size_t max_name = 200;
  std::string wanted(name.substr(0, max_name));
  std::transform(wanted.begin(), wanted.end(), wanted.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });

  std::vector<std::pair<int, std::string>> ranked;
  for (const CatalogueEntry& entry : entries) {
    const bool contains = wanted.size() >= 3 && (entry.name.find(wanted) != std::string::npos ||
                                                 wanted.find(entry.name) != std::string::npos);
    const int distance = contains ? 1 : edit_distance(wanted, entry.name);
    const int near = std::max(2, static_cast<int>(entry.name.size()) / 3);
    if (distance <= near) ranked.emplace_back(distance, entry.name);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> result;
  for (std::size_t i = 0; i < ranked.size() && i < 3; ++i) result.push_back(ranked[i].second);
  return result;
}

}  // namespace moebox
