// Helpers of the tests of io: files built byte by byte, folders that vanish, and errors by their text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace moebox::test {

inline const std::filesystem::path golden = MOEBOX_TEST_DIR "/golden/io";

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::string_view content);

/// A copy of exactly these bytes on the heap, so that the address sanitizer sees a read beyond them.
std::vector<std::byte> exact_bytes(std::string_view text);

/// A folder of its own for one test.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Runs `action`, which must throw an Error of this kind whose text has all of `parts`.
void expect_error(ErrorKind kind, std::initializer_list<std::string_view> parts, const std::function<void()>& action);

/// Builds a GGUF file byte by byte, right or wrong.
class GgufBuilder {
 public:
  explicit GgufBuilder(std::uint64_t n_tensors = 0, std::uint64_t n_pairs = 0, std::uint32_t version = 3);

  GgufBuilder& raw(std::string_view bytes);

  template <class T>
    requires std::is_arithmetic_v<T>
  GgufBuilder& number(T value) {
    return raw({reinterpret_cast<const char*>(&value), sizeof value});
  }

  /// Its length, then its bytes.
  GgufBuilder& string(std::string_view text);
  /// A key and the number of its value's type; the value follows by number() or string().
  GgufBuilder& key(std::string_view name, std::uint32_t type);
  /// The start of an array's entry; the elements follow.
  GgufBuilder& array(std::string_view name, std::uint32_t element_type, std::uint64_t count);
  /// A tensor's entry. `ne` has the fastest dimension first, as in the file.
  GgufBuilder& tensor(std::string_view name, std::initializer_list<std::uint64_t> ne, std::uint32_t type,
                      std::uint64_t offset);
  /// Pads to the alignment and adds `n_bytes` of data.
  GgufBuilder& data(std::size_t n_bytes, std::size_t alignment = 32);

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// A safetensors file with this header and this much data.
std::string safetensors_file(std::string_view header, std::size_t n_data_bytes);

}  // namespace moebox::test
