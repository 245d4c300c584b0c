// Element types of stored tensors. The numbers are GGUF's (ggml_type), so that a file's value converts directly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace moebox {

enum class DType : std::uint8_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  bf16 = 30,
  mxfp4 = 39,
  f8_e4m3 = 248,  // only in safetensors: GGUF has no number for it
};

/// A type's storage: rows are made of blocks of `block_elements` values in `block_bytes` bytes.
struct DTypeInfo {
  DType dtype;
  std::string_view name;  // as llama.cpp prints it: "Q4_K"
  int block_elements;
  int block_bytes;
};

const DTypeInfo& info(DType dtype) noexcept;
inline std::string_view name(DType dtype) noexcept { return info(dtype).name; }

/// The type with GGUF's number `ggml_type`, or nothing when moebox does not know it or GGUF does not have it.
std::optional<DType> dtype_from_ggml(std::uint32_t ggml_type) noexcept;
/// The type with this name, in any case ("q4_k", "Q4_K", "bf16").
std::optional<DType> dtype_from_name(std::string_view name) noexcept;

/// Bytes of a row of `n_elements`. Throws Error when it is not a whole number of blocks, or overflows.
std::size_t row_bytes(DType dtype, std::size_t n_elements);

}  // namespace moebox
