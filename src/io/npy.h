// NumPy's .npy files (format version 1.0 to 3.0): float32, int32 and int64 arrays in C order, little-endian.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace moebox {

struct NpyArray {
  std::vector<std::int64_t> shape;  // slowest dimension first; empty for a scalar
  std::variant<std::vector<float>, std::vector<std::int32_t>, std::vector<std::int64_t>> values;

  /// The values as one type. Throws Error(invalid_file) when the file has another.
  template <class T>
  const std::vector<T>& as() const;
};

/// Throws Error(not_found), Error(io), or Error(invalid_file) for anything else than such an array.
NpyArray read_npy(const std::filesystem::path& path);
NpyArray parse_npy(std::span<const std::byte> bytes, const std::string& where);

/// Writes version 1.0. Throws Error(io), or Error(invalid_argument) when `shape` does not have as many elements as
/// `values`.
void write_npy(const std::filesystem::path& path, std::span<const float> values, std::span<const std::int64_t> shape);
void write_npy(const std::filesystem::path& path, std::span<const std::int32_t> values,
               std::span<const std::int64_t> shape);
void write_npy(const std::filesystem::path& path, std::span<const std::int64_t> values,
               std::span<const std::int64_t> shape);

/// What stands before the float32 values of such an array, for those who write it where there is no path.
std::string float32_npy_head(std::span<const std::int64_t> shape);

}  // namespace moebox
