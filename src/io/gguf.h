// One GGUF file (version 2 or 3, little-endian) as metadata and tensors in place. Specification: ggml's docs/gguf.md.
// Sets of split files are put together in checkpoint.cpp.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/metadata.h"
#include "tensor/tensor_view.h"

namespace moebox {

/// An entry of the metadata as the file has it, for those who copy it.
struct GgufPair {
  std::string_view key;
  std::span<const std::byte> value;  // the number of its type, then the value
};

/// Views point into the bytes that were parsed.
struct GgufFile {
  Metadata metadata;
  std::vector<GgufPair> pairs;      // the same, in the file's order
  std::vector<TensorView> tensors;  // in the file's order
};

/// Whether the bytes start as a GGUF file does.
bool is_gguf(std::span<const std::byte> bytes) noexcept;

/// Parses and checks all of a file but the tensors' content. `where` names the file in errors. Throws
/// Error(invalid_file), or Error(unsupported) for other versions, big-endian files, nested arrays and unknown tensor
/// types.
GgufFile parse_gguf(std::span<const std::byte> bytes, const std::string& where);

}  // namespace moebox
