// A model's files, opened and checked: metadata, tensors, and the tokenizer's files where there are any.
// It knows containers (GGUF, safetensors), not architectures: what the tensors mean is spec's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "io/gguf.h"
#include "io/metadata.h"
#include "tensor/tensor_view.h"

namespace moebox {

class MappedFile;

class Checkpoint {
 public:
  enum class Format { gguf, hugging_face };

  /// Opens a .gguf file (any one of a split set opens all), or a Hugging Face folder (config.json, *.safetensors).
  /// Every offset, size, shape and type has been checked against the files when it returns. Throws Error.
  static Checkpoint open(const std::filesystem::path& path);
  /// A model that has no weights yet: a Hugging Face config.json alone. There are no tensors. Throws Error.
  static Checkpoint describe(const std::filesystem::path& config_json);
  /// The same of a config.json's content; `name` stands for its place in errors.
  static Checkpoint describe(nlohmann::json config, const std::filesystem::path& name);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  Format format() const noexcept;
  const std::filesystem::path& path() const noexcept;
  /// Every mapped file; their total size in bytes.
  const std::vector<std::filesystem::path>& files() const noexcept;
  std::uint64_t file_bytes() const noexcept;
  /// Tells these files from changed or other ones, without reading all of them: a digest of their sizes, of when they
  /// were changed last, and of samples of their content (times alone do not tell archives apart whose times were all
  /// set alike). As of open(); the names do not count.
  std::uint64_t identity() const noexcept;

  /// GGUF metadata, sorted by key; of a split set, that of its first part. Empty for a Hugging Face folder.
  const Metadata& metadata() const noexcept;
  /// The same as the file has it, in its order: what a converter copies.
  const std::vector<GgufPair>& encoded_metadata() const noexcept;
  /// The value at `key` or nullptr.
  const MetadataValue* find(std::string_view key) const noexcept;
  /// Typed look-ups; they throw Error when the key is missing (and no fallback is given), or has another type, or is
  /// out of range.
  std::int64_t integer(std::string_view key, std::optional<std::int64_t> fallback = {}) const;
  double number(std::string_view key, std::optional<double> fallback = {}) const;
  bool boolean(std::string_view key, std::optional<bool> fallback = {}) const;
  std::string string(std::string_view key, std::optional<std::string> fallback = {}) const;

  /// config.json of a Hugging Face folder; null for GGUF. Other JSON files of the folder by name ("tokenizer.json" is
  /// read by the tokenizer).
  const nlohmann::json& config() const noexcept;

  /// All tensors, in file order. Names are unique.
  const std::vector<TensorView>& tensors() const noexcept;
  /// The tensor or nullptr.
  const TensorView* find_tensor(std::string_view name) const noexcept;
  /// The tensor; throws Error(not_found) that names it.
  const TensorView& tensor(std::string_view name) const;

  /// Tells the kernel that a tensor's pages are no longer needed (they have been packed). The data stays readable.
  void release(const TensorView& tensor) const noexcept;
  /// Tells it that rows of the tensor are read here and there.
  void expect_random_reads(const TensorView& tensor) const noexcept;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  const MappedFile* file_of(const TensorView& tensor) const noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace moebox
