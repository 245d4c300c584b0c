// The header of a safetensors file, for those who write one as a stream: header first, then the tensors' bytes in
// order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace moebox {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as the format names it: "BF16", "U16"
  std::vector<std::int64_t> shape;
  std::uint64_t n_bytes;
};

/// The length's eight bytes and the header, padded so that the data begins at a multiple of eight. The tensors' data
/// follow in the order of `entries`. Throws Error(invalid_argument) for bytes that are not UTF-8.
std::string safetensors_header(const std::vector<SafetensorsEntry>& entries,
                               const std::map<std::string, std::string>& metadata);

}  // namespace moebox
