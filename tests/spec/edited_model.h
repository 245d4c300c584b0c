// Copies of small models that a test may change, and the check that the changed one is refused at load.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "models/model.h"

namespace moebox::test {

/// A copy of a tiny model whose files a test may change.
class EditedFolder {
 public:
  explicit EditedFolder(const std::filesystem::path& model) {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("moebox_spec_" + std::to_string(::getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(path_);
    std::ifstream(model / "config.json") >> config;
    read_tensors(model / "model.safetensors");
  }
  ~EditedFolder() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& write() {
    std::ofstream(path_ / "config.json") << config.dump();
    write_tensors();
    return path_;
  }

  nlohmann::json config;

  struct Tensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string data;
  };
  std::map<std::string, Tensor> tensors;

 private:
  void read_tensors(const std::filesystem::path& from) {
    std::ifstream in(from, std::ios::binary);
    std::string file((std::istreambuf_iterator<char>(in)), {});
    std::uint64_t size = 0;
    std::memcpy(&size, file.data(), 8);
    const auto header = nlohmann::json::parse(file.substr(8, size));
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      const auto begin = entry.at("data_offsets")[0].get<std::size_t>(),
                 end = entry.at("data_offsets")[1].get<std::size_t>();
      tensors[name] = {entry.at("dtype"), entry.at("shape"), file.substr(8 + size + begin, end - begin)};
    }
  }
  void write_tensors() const {
    nlohmann::json header;
    std::string data;
    for (const auto& [name, tensor] : tensors) {
      header[name] = {{"dtype", tensor.dtype},
                      {"shape", tensor.shape},
                      {"data_offsets", {data.size(), data.size() + tensor.data.size()}}};
      data += tensor.data;
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t size = text.size();
    std::ofstream out(path_ / "model.safetensors", std::ios::binary);
    out.write(reinterpret_cast<const char*>(&size), 8);
    out << text << data;
  }

  std::filesystem::path path_;
};

inline void load(const std::filesystem::path& path) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  ThreadTeam team(1);
  load_model(checkpoint, team);
}

/// Loading must fail with an error that holds `part`.
inline void expect_refused(const std::filesystem::path& path, const std::string& part) {
  try {
    load(path);
    ADD_FAILURE() << "loaded in spite of " << part;
  } catch (const Error& error) {
    EXPECT_NE(error.kind(), ErrorKind::internal);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}
inline void expect_refused(EditedFolder& folder, const std::string& part) { expect_refused(folder.write(), part); }

/// Copies a GGUF file with other metadata: pairs of the types uint32 and float32, in place of the file's own or before
/// them.
inline void edit_gguf_numbers(const std::filesystem::path& from, const std::filesystem::path& to,
                              const std::vector<std::pair<std::string, std::variant<std::uint32_t, float>>>& pairs) {
  std::ifstream in(from, std::ios::binary);
  std::string file((std::istreambuf_iterator<char>(in)), {});
  const auto put = [](std::string& text, auto value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  const auto key_and_type = [&put](const std::string& key, std::uint32_t type) {
    std::string text;
    put(text, static_cast<std::uint64_t>(key.size()));
    text += key;
    put(text, type);
    return text;
  };
  constexpr std::uint32_t number_types[] = {4, 6}, type_string = 8;  // uint32, float32
  std::string added;
  std::uint64_t n_added = 1;  // with the filler
  for (const auto& [key, value] : pairs) {
    const std::string begin = key_and_type(key, number_types[value.index()]);
    std::string number;
    std::visit([&](auto v) { put(number, v); }, value);
    if (const auto found = file.find(begin); found != std::string::npos) {
      file.replace(found + begin.size(), number.size(), number);
    } else {
      added += begin + number;
      ++n_added;
    }
  }
  // The tensors' data starts at a multiple of 32: a text fills up to the next one.
  const std::string filler = key_and_type("test.filler", type_string);
  const std::size_t length = (32 - (added.size() + filler.size() + 8) % 32) % 32;
  added += filler;
  put(added, static_cast<std::uint64_t>(length));
  added.append(length, 'x');
  constexpr std::size_t n_pairs_at = 16, first_pair_at = 24;
  std::uint64_t n_pairs = 0;
  std::memcpy(&n_pairs, file.data() + n_pairs_at, sizeof n_pairs);
  n_pairs += n_added;
  std::memcpy(file.data() + n_pairs_at, &n_pairs, sizeof n_pairs);
  file.insert(first_pair_at, added);
  std::ofstream(to, std::ios::binary) << file;
}

}  // namespace moebox::test
