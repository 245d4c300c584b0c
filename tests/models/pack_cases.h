// What the tests of pack files share: a copy of a small model in a folder of its own, and the bits of its logits.
#pragma once

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "golden_data.h"
#include "models/packing.h"

namespace moebox::test {

/// A folder that goes away with the test.
struct TemporaryFolder {
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "moebox-pack-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
    path = name;
  }
  ~TemporaryFolder() {
    std::error_code none;
    std::filesystem::remove_all(path, none);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path path;
};

/// A model of tests/golden, copied; `name` such as "deepseek/models/tiny-v3".
struct CopiedModel : TemporaryFolder {
  explicit CopiedModel(const std::filesystem::path& name) : model(path / name.filename()) {
    std::filesystem::copy(golden_dir() / name, model, std::filesystem::copy_options::recursive);
  }
  Checkpoint open() const { return Checkpoint::open(model); }
  std::filesystem::path pack_path() const { return pack_file_places(open()).front(); }
  PackFileState pack(bool replace = false) const {
    ThreadTeam team(2);
    PackWriteOptions options;
    options.replace = replace;
    return write_pack_file(open(), team, {}, options);
  }

  std::filesystem::path model;
};

inline std::vector<TokenId> some_tokens(int vocab_size, int n) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back((i * 37 + i * i) % vocab_size);
  return tokens;
}

/// The logits of `n` tokens, of which the last half are generated.
inline std::vector<float> logits_of(const Model& model, ThreadTeam& team, int chunk, int n = 40) {
  std::vector<float> all;
  Evaluator evaluator(model, team, n, chunk);
  evaluator.run(
      some_tokens(model.info().vocab_size, n),
      [&](int, std::span<const float> rows) { all.insert(all.end(), rows.begin(), rows.end()); }, n / 2);
  return all;
}

inline std::vector<float> logits_of(const Checkpoint& checkpoint, const ModelOptions& options, int chunk = 7) {
  ThreadTeam team(1);
  return logits_of(*load_model(checkpoint, team, options), team, chunk);
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline std::vector<char> read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(const std::filesystem::path& path, const std::vector<char>& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline constexpr const char* moe_models[] = {"deepseek/models/tiny-v2-lite", "deepseek/models/tiny-v3",
                                             "moe/models/mixtral", "moe/models/qwen2moe", "moe/models/olmoe"};

}  // namespace moebox::test
