// Reading the golden data of tests/golden/tokenizer.
#pragma once

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizer/precompiled.h"
#include "tokenizer/tokenizer.h"

namespace moebox::test {

inline std::string golden_path(const std::string& name) {
  return std::string(MOEBOX_TEST_DIR) + "/golden/tokenizer/" + name;
}
inline std::string model_path(const std::string& name) { return std::string(MOEBOX_MODEL_DIR) + "/" + name; }

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline nlohmann::json read_golden(const std::string& name) {
  return nlohmann::json::parse(read_file(golden_path(name)));
}

/// FNV-1a of the ids as 32-bit little-endian integers.
inline std::string fnv1a(const std::vector<TokenId>& ids) {
  std::uint64_t value = 0xCBF29CE484222325u;
  for (const TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8)
      value = (value ^ (static_cast<std::uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3u;
  }
  static const char* const kDigits = "0123456789abcdef";
  std::string out;
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back(kDigits[value >> shift & 15]);
  return out;
}

/// The texts of documents.json; some are no UTF-8.
inline const std::vector<std::string>& documents() {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> out;
    for (const auto& encoded : read_golden("documents.json"))
      out.push_back(decode_base64(encoded.get<std::string>(), "documents.json"));
    return out;
  }();
  return texts;
}

}  // namespace moebox::test
