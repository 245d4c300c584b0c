// Writing one GGUF file (version 3, little-endian) as a stream: the header when all sizes are known, then the tensors
// one by one. Specification: ggml's docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "io/output_file.h"
#include "tensor/dtype.h"

namespace moebox {

/// Metadata and the list of tensors. A key that is set again keeps its place and takes the new value.
class GgufHeader {
 public:
  static constexpr std::size_t alignment = 32;

  void set_u32(std::string_view key, std::uint32_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, std::span<const std::string> values);
  void set_i32s(std::string_view key, std::span<const std::int32_t> values);
  void set_f32s(std::string_view key, std::span<const float> values);
  void set_u8s(std::string_view key, std::string_view bytes);
  /// A value with its type as another file had it (GgufPair::value).
  void set_encoded(std::string_view key, std::span<const std::byte> value);
  bool has(std::string_view key) const noexcept;

  /// Adds a tensor behind those before; `shape` has the slowest dimension first. Throws Error(invalid_argument) for a
  /// name that is taken or too long for ggml (63 bytes), a type that GGUF has not, or more than four dimensions; Error
  /// when a row is not a whole number of blocks.
  void add_tensor(std::string_view name, DType dtype, std::span<const std::int64_t> shape);

  struct Tensor {
    std::string name;
    DType dtype;
    std::vector<std::int64_t> shape;
    std::uint64_t offset, n_bytes;  // in the data section
  };
  const std::vector<Tensor>& tensors() const noexcept { return tensors_; }
  /// The bytes before the first tensor, padding included.
  std::string bytes() const;
  /// Bytes of all tensors, padding included.
  std::uint64_t data_bytes() const noexcept { return data_bytes_; }

 private:
  std::string& value_of(std::string_view key);

  std::vector<std::pair<std::string, std::string>> pairs_;  // value: type and value as stored
  std::vector<Tensor> tensors_;
  std::unordered_set<std::string> names_;
  std::uint64_t data_bytes_ = 0;
};

/// Writes the header at once, then takes the tensors' bytes in order and pads between them.
class GgufStream {
 public:
  /// Reserves the file's size. Both must outlive this object.
  GgufStream(OutputFile& file, const GgufHeader& header);

  /// The next bytes of the current tensor, which must not end within. Throws Error(internal) when they reach beyond it.
  void write(std::span<const std::byte> bytes);
  /// Throws Error(internal) unless every tensor is complete.
  void finish() const;

 private:
  OutputFile& file_;
  const GgufHeader& header_;
  std::size_t tensor_ = 0;
  std::uint64_t done_ = 0;  // bytes of the current tensor
};

}  // namespace moebox
