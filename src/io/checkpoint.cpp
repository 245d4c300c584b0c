#include "io/checkpoint.h"

#include <algorithm>
#include <iterator>
#include <system_error>
#include <unordered_map>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/xxh64.h"
#include "io/gguf.h"
#include "io/hf_folder.h"
#include "io/json_file.h"
#include "io/mapped_file.h"
#include "io/quote.h"
#include "io/safetensors.h"
#include "io/split_gguf.h"
#include "io/tensor_layout.h"

namespace moebox {

namespace fs = std::filesystem;

namespace {

constexpr const char* keep_parts_together =
    "the parts of a split model belong together: keep their names, and fetch all of them from one place";

/// Throws unless `key` is there and has the value that the names of the files, or their content, imply.
void check_count(const Metadata& metadata, std::string_view key, std::uint64_t expected, const fs::path& file) {
  const auto found = metadata.find(key);
  std::string text = "none";
  if (found != metadata.end()) {
    text = type_text(found->second);
    if (const auto* count = std::get_if<std::uint64_t>(&found->second)) {
      if (*count == expected) return;
      text = std::to_string(*count);
    } else if (const auto* number = std::get_if<std::int64_t>(&found->second)) {
      if (std::cmp_equal(*number, expected)) return;
      text = std::to_string(*number);
    }
  }
  throw Error(ErrorKind::invalid_file, fmt::format("expected {} = {}, found {}", key, expected, text), file.string(),
              keep_parts_together);
}

}  // namespace

struct Checkpoint::State {
  Format format = Format::gguf;
  fs::path path;
  std::vector<MappedFile> mapped;
  std::vector<fs::path> files;
  std::uint64_t file_bytes = 0;
  Metadata metadata;
  std::vector<GgufPair> pairs;
  nlohmann::json config;
  std::vector<TensorView> tensors;
  std::unordered_map<std::string_view, std::size_t> index;  // of tensors; the keys are views of their names

  void open_gguf();
  void open_hugging_face();
  void read_config(const fs::path& file);

  std::span<const std::byte> map(const fs::path& file) {
    mapped.emplace_back(file);
    files.push_back(file);
    file_bytes += mapped.back().bytes().size();
    return mapped.back().bytes();
  }

  void add(std::vector<TensorView> more) {
    tensors.insert(tensors.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }

  void build_index() {
    check_unique_names(tensors, path.string());
    index.reserve(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) index.emplace(tensors[i].name, i);
  }

  const MetadataValue* find(std::string_view key) const noexcept {
    const auto found = metadata.find(key);
    return found != metadata.end() ? &found->second : nullptr;
  }

  std::string place(std::string_view key) const { return path.string() + ": metadata " + quote(key); }

  [[noreturn]] void wrong_type(std::string_view key, std::string_view expected) const {
    throw Error(ErrorKind::invalid_file, fmt::format("expected {}, found {}", expected, type_text(*find(key))),
                place(key));
  }

  [[noreturn]] void missing(std::string_view key) const {
    throw Error(ErrorKind::not_found, "the key is missing", place(key),
                "the model was made by an old or a foreign converter: convert it again");
  }
};

void Checkpoint::State::open_gguf() {
  format = Format::gguf;
  const auto name = parse_split_name(path);
  if (!name || name->n_parts == 1) {
    GgufFile file = parse_gguf(map(path), path.string());
    if (file.metadata.contains("split.count")) check_count(file.metadata, "split.count", 1, path);
    metadata = std::move(file.metadata);
    pairs = std::move(file.pairs);
    add(std::move(file.tensors));
    return;
  }
  for (std::size_t part = 0; part < name->n_parts; ++part) {
    const fs::path part_path = split_path(path, *name, part + 1);
    GgufFile file = parse_gguf(map(part_path), part_path.string());
    check_count(file.metadata, "split.count", name->n_parts, part_path);
    check_count(file.metadata, "split.no", part, part_path);
    add(std::move(file.tensors));
    if (part > 0) continue;  // the others have no metadata but split.*
    metadata = std::move(file.metadata);
    pairs = std::move(file.pairs);
  }
  check_count(metadata, "split.tensors.count", tensors.size(), path);
}

void Checkpoint::State::read_config(const fs::path& file) {
  format = Format::hugging_face;
  config = read_json_file(file);
  if (!config.is_object()) throw Error(ErrorKind::invalid_file, "expected a JSON object", file.string());
}

void Checkpoint::State::open_hugging_face() {
  read_config(path / "config.json");
  const HfFiles found = find_safetensors(path);
  for (std::size_t i = 0; i < found.paths.size(); ++i) {
    const fs::path& file = found.paths[i];
    std::vector<TensorView> part = parse_safetensors(map(file), file.string());
    for (const TensorView& tensor : part) {
      if (found.file_of_tensor.empty()) break;
      const auto listed = found.file_of_tensor.find(tensor.name);
      if (listed == found.file_of_tensor.end() || listed->second != i) {
        throw Error(ErrorKind::invalid_file,
                    "the index does not say that tensor " + quote(tensor.name) + " is in this file", file.string(),
                    "the folder mixes files of several models: fetch it again");
      }
    }
    add(std::move(part));
  }
  build_index();
  for (const auto& [name, number] : found.file_of_tensor) {
    if (!index.contains(name)) {
      throw Error(ErrorKind::invalid_file,
                  "the index says that tensor " + quote(name) + " is in this file, but it is not",
                  found.paths[number].string(), "the folder mixes files of several models: fetch it again");
    }
  }
}

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const fs::path& path) {
  auto state = std::make_unique<State>();
  state->path = path;
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    state->open_hugging_face();
  } else if (path.extension() == ".safetensors" || path.extension() == ".json") {
    throw Error(ErrorKind::invalid_argument, "a Hugging Face model is a folder, and this is one of its files",
                path.string(), "give the folder");
  } else {
    state->open_gguf();
    state->build_index();
  }
  return Checkpoint(std::move(state));
}

Checkpoint Checkpoint::describe(const fs::path& config_json) {
  auto state = std::make_unique<State>();
  state->path = config_json;
  state->read_config(config_json);
  return Checkpoint(std::move(state));
}

Checkpoint Checkpoint::describe(nlohmann::json config, const fs::path& name) {
  auto state = std::make_unique<State>();
  state->path = name;
  state->format = Format::hugging_face;
  state->config = std::move(config);
  return Checkpoint(std::move(state));
}

Checkpoint::Format Checkpoint::format() const noexcept { return state_->format; }
const fs::path& Checkpoint::path() const noexcept { return state_->path; }
const std::vector<fs::path>& Checkpoint::files() const noexcept { return state_->files; }
std::uint64_t Checkpoint::file_bytes() const noexcept { return state_->file_bytes; }

std::uint64_t Checkpoint::identity() const noexcept {
  constexpr std::size_t n_samples = 16, sample_bytes = 4096;
  std::uint64_t digest = 0;
  for (const MappedFile& file : state_->mapped) {
    const std::span<const std::byte> bytes = file.bytes();
    const std::int64_t facts[] = {static_cast<std::int64_t>(bytes.size()), file.modified_ns()};
    digest = xxh64(std::as_bytes(std::span(facts)), digest);
    const std::size_t n = std::min(bytes.size(), sample_bytes), last = bytes.size() - n;
    for (std::size_t i = 0; i < n_samples; ++i) digest = xxh64(bytes.subspan(last / (n_samples - 1) * i, n), digest);
  }
  return digest;
}
const Metadata& Checkpoint::metadata() const noexcept { return state_->metadata; }
const std::vector<GgufPair>& Checkpoint::encoded_metadata() const noexcept { return state_->pairs; }
const MetadataValue* Checkpoint::find(std::string_view key) const noexcept { return state_->find(key); }
const nlohmann::json& Checkpoint::config() const noexcept { return state_->config; }
const std::vector<TensorView>& Checkpoint::tensors() const noexcept { return state_->tensors; }

std::int64_t Checkpoint::integer(std::string_view key, std::optional<std::int64_t> fallback) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return fallback ? *fallback : (state_->missing(key), 0);
  if (const auto* number = std::get_if<std::int64_t>(value)) return *number;
  const auto* number = std::get_if<std::uint64_t>(value);
  if (number == nullptr) state_->wrong_type(key, "an integer");
  if (!std::in_range<std::int64_t>(*number)) {
    throw Error(ErrorKind::invalid_file, fmt::format("{} is out of range", *number), state_->place(key));
  }
  return static_cast<std::int64_t>(*number);
}

double Checkpoint::number(std::string_view key, std::optional<double> fallback) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return fallback ? *fallback : (state_->missing(key), 0);
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* number = std::get_if<std::int64_t>(value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<std::uint64_t>(value)) return static_cast<double>(*number);
  state_->wrong_type(key, "a number");
}

bool Checkpoint::boolean(std::string_view key, std::optional<bool> fallback) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return fallback ? *fallback : (state_->missing(key), false);
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  state_->wrong_type(key, "a boolean");
}

std::string Checkpoint::string(std::string_view key, std::optional<std::string> fallback) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) {
    if (!fallback) state_->missing(key);
    return std::move(*fallback);
  }
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  state_->wrong_type(key, "a string");
}

const TensorView* Checkpoint::find_tensor(std::string_view name) const noexcept {
  const auto found = state_->index.find(name);
  return found != state_->index.end() ? &state_->tensors[found->second] : nullptr;
}

const TensorView& Checkpoint::tensor(std::string_view name) const {
  if (const TensorView* found = find_tensor(name)) return *found;
  throw Error(ErrorKind::not_found, "tensor " + quote(name) + " is missing", state_->path.string(),
              "the file is incomplete, or of an architecture that its metadata does not name");
}

const MappedFile* Checkpoint::file_of(const TensorView& tensor) const noexcept {
  for (const MappedFile& file : state_->mapped) {
    const auto bytes = file.bytes();
    const bool inside = !std::less<>()(tensor.data.data(), bytes.data()) &&
                        !std::less<>()(bytes.data() + bytes.size(), tensor.data.data() + tensor.data.size());
    if (inside) return &file;
  }
  return nullptr;
}

void Checkpoint::release(const TensorView& tensor) const noexcept {
  if (const MappedFile* file = file_of(tensor)) file->release(tensor.data);
}

void Checkpoint::expect_random_reads(const TensorView& tensor) const noexcept {
  if (const MappedFile* file = file_of(tensor)) file->expect_random_reads(tensor.data);
}

}  // namespace moebox
