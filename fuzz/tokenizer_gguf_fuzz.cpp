// Any bytes as a GGUF file, and any bytes as a SentencePiece model: an Error, or a tokenizer that keeps its promises.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "io/checkpoint.h"
#include "memory_folder.h"
#include "tokenizer_use.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const moebox::MemoryFolder folder;
  static const std::filesystem::path file = folder / "a.gguf";
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    if (!bytes.starts_with("GGUF")) {
      moebox::use_tokenizer(moebox::Tokenizer::from_sentencepiece(bytes), bytes);
      return 0;
    }
    std::ofstream(file, std::ios::binary) << bytes;
    moebox::use_tokenizer(moebox::Tokenizer::load(moebox::Checkpoint::open(file)), bytes);
  } catch (const moebox::Error&) {
  }
  return 0;
}
