// Any bytes as a GGUF file, and any bytes as a SentencePiece model: an Error, or a tokenizer that keeps its promises.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "io/checkpoint.h"
#include "tokenizer_use.h"

namespace {

/// A file in memory where there is one, removed at exit.
class File {
 public:
  File() {
    std::string pattern =
        std::filesystem::is_directory("/dev/shm") ? "/dev/shm/moebox-fuzz-XXXXXX" : "/tmp/moebox-fuzz-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path = std::filesystem::path(pattern) / "a.gguf";
  }
  ~File() {
    std::error_code ignored;
    std::filesystem::remove_all(path.parent_path(), ignored);
  }
  std::filesystem::path path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const File file;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    if (!bytes.starts_with("GGUF")) {
      moebox::use_tokenizer(moebox::Tokenizer::from_sentencepiece(bytes), bytes);
      return 0;
    }
    std::ofstream(file.path, std::ios::binary) << bytes;
    moebox::use_tokenizer(moebox::Tokenizer::load(moebox::Checkpoint::open(file.path)), bytes);
  } catch (const moebox::Error&) {
  }
  return 0;
}
