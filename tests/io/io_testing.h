// Helpers of the tests of io: files built byte by byte, folders that vanish, and errors by their text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace moebox::testing {

inline const std::filesystem::path golden = MOEBOX_TEST_DIR "/golden/io";

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  ASSERT_TRUE(file.good()) << path;
}

/// A copy of exactly these bytes on the heap, so that the address sanitizer sees a read beyond them.
inline std::vector<std::byte> exact_bytes(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// A folder of its own for one test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "moebox-io-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Runs `action`, which must throw an Error of this kind whose text has all of `parts`.
inline void expect_error(ErrorKind kind, const std::vector<std::string>& parts, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one that says " << ::testing::PrintToString(parts);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << name(error.kind()) << ": " << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos)
          << "'" << part << "' is not in: " << error.what();
    }
  }
}

/// Builds a GGUF file byte by byte, right or wrong.
class GgufBuilder {
 public:
  explicit GgufBuilder(std::uint64_t n_tensors = 0, std::uint64_t n_pairs = 0, std::uint32_t version = 3) {
    raw("GGUF").number(version).number(n_tensors).number(n_pairs);
  }

  GgufBuilder& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }

  template <class T>
    requires std::is_arithmetic_v<T>
  GgufBuilder& number(T value) {
    return raw({reinterpret_cast<const char*>(&value), sizeof value});
  }

  GgufBuilder& string(std::string_view text) { return number(std::uint64_t{text.size()}).raw(text); }

  /// A key and the number of its value's type; the value follows by number() or string().
  GgufBuilder& key(std::string_view name, std::uint32_t type) { return string(name).number(type); }

  /// The start of an array's entry; the elements follow.
  GgufBuilder& array(std::string_view name, std::uint32_t element_type, std::uint64_t count) {
    return key(name, 9).number(element_type).number(count);
  }

  /// A tensor's entry. `ne` has the fastest dimension first, as in the file.
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& ne, std::uint32_t type,
                      std::uint64_t offset) {
    string(name).number(static_cast<std::uint32_t>(ne.size()));
    for (const std::uint64_t dimension : ne) number(dimension);
    return number(type).number(offset);
  }

  /// Pads to the alignment and adds `n_bytes` of data.
  GgufBuilder& data(std::size_t n_bytes, std::size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
    bytes_.append(n_bytes, '\x01');
    return *this;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// A safetensors file with this header and this much data.
inline std::string safetensors_file(std::string_view header, std::size_t n_data_bytes) {
  const std::uint64_t n_bytes = header.size();
  std::string file(reinterpret_cast<const char*>(&n_bytes), sizeof n_bytes);
  file += header;
  file.append(n_data_bytes, '\x01');
  return file;
}

}  // namespace moebox::testing
