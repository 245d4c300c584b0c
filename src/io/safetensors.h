// One safetensors file as tensors in place. Specification: the format's README ("Format", huggingface/safetensors).
// Folders with shards are put together in hf_folder.cpp.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor_view.h"

namespace moebox {

/// Parses the header and checks every entry against the data: the tensors, ordered by position, cover it without gap or
/// overlap. Views point into `bytes`. `where` names the file in errors. Throws Error(invalid_file), or
/// Error(unsupported) for a type other than F32, F16 and BF16 or more than four dimensions.
std::vector<TensorView> parse_safetensors(std::span<const std::byte> bytes, const std::string& where);

}  // namespace moebox
