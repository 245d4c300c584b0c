#include "io_testing.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include <gtest/gtest.h>

namespace moebox::test {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::filesystem::path& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  ASSERT_TRUE(file.good()) << path;
}

std::vector<std::byte> exact_bytes(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "moebox-io-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make a temporary folder");
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void expect_error(ErrorKind kind, std::initializer_list<std::string_view> parts, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one that says " << ::testing::PrintToString(std::vector(parts));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << name(error.kind()) << ": " << error.what();
    for (const std::string_view part : parts) {
      EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos)
          << "'" << part << "' is not in: " << error.what();
    }
  }
}

GgufBuilder::GgufBuilder(std::uint64_t n_tensors, std::uint64_t n_pairs, std::uint32_t version) {
  raw("GGUF").number(version).number(n_tensors).number(n_pairs);
}

GgufBuilder& GgufBuilder::raw(std::string_view bytes) {
  bytes_ += bytes;
  return *this;
}

GgufBuilder& GgufBuilder::string(std::string_view text) { return number(std::uint64_t{text.size()}).raw(text); }

GgufBuilder& GgufBuilder::key(std::string_view name, std::uint32_t type) { return string(name).number(type); }

GgufBuilder& GgufBuilder::array(std::string_view name, std::uint32_t element_type, std::uint64_t count) {
  return key(name, 9).number(element_type).number(count);
}

GgufBuilder& GgufBuilder::tensor(std::string_view name, std::initializer_list<std::uint64_t> ne, std::uint32_t type,
                                 std::uint64_t offset) {
  string(name).number(static_cast<std::uint32_t>(ne.size()));
  for (const std::uint64_t dimension : ne) number(dimension);
  return number(type).number(offset);
}

GgufBuilder& GgufBuilder::data(std::size_t n_bytes, std::size_t alignment) {
  bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  bytes_.append(n_bytes, '\x01');
  return *this;
}

std::string safetensors_file(std::string_view header, std::size_t n_data_bytes) {
  const std::uint64_t n_bytes = header.size();
  std::string file(reinterpret_cast<const char*>(&n_bytes), sizeof n_bytes);
  file += header;
  file.append(n_data_bytes, '\x01');
  return file;
}

}  // namespace moebox::test
