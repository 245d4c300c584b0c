// One safetensors file as tensors in place. Specification: the format's README ("Format", huggingface/safetensors).
// Folders with shards are put together in hf_folder.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor_view.h"

namespace moebox {

/// Parses the header and checks every entry against the data: the tensors, ordered by position, cover it without gap or
/// overlap. Views point into `bytes`. `where` names the file in errors. Throws Error(invalid_file), or
/// Error(unsupported) for a type other than F32, F16 and BF16 or more than four dimensions.
std::vector<TensorView> parse_safetensors(std::span<const std::byte> bytes, const std::string& where);

/// A tensor of whole numbers, which no model has: shards of data are made of them.
struct IntegerTensor {
  enum class Type : std::uint8_t { u8, u16, u32, i64 };

  std::string name = {};
  Type type = Type::u8;
  std::vector<std::int64_t> shape = {};
  std::span<const std::byte> data = {};  // may be unaligned

  int element_bytes() const noexcept;
};

struct IntegerFile {
  std::map<std::string, std::string> metadata;
  std::vector<IntegerTensor> tensors;  // by position
  std::span<const std::byte> data;     // all of them
};

/// The same for files of whole numbers (U8, U16, U32, I64). What parse_safetensors() takes, this
/// refuses, and the other way round: data does not load as a model.
IntegerFile parse_integer_safetensors(std::span<const std::byte> bytes, const std::string& where);

}  // namespace moebox
