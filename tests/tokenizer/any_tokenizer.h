// Any tokenizer from a file, for the programs that encode whole corpora.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "base/error.h"
#include "io/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace moebox::test {

inline std::string read_any_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::not_found, "cannot open the file", path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

/// `path` is a .gguf, a tokenizer.json or a SentencePiece .model.
inline std::shared_ptr<const Tokenizer> load_any_tokenizer(const std::filesystem::path& path) {
  if (path.extension() == ".json") return Tokenizer::from_json(read_any_file(path));
  if (path.extension() == ".model") return Tokenizer::from_sentencepiece(read_any_file(path));
  return Tokenizer::load(Checkpoint::open(path));
}

}  // namespace moebox::test
