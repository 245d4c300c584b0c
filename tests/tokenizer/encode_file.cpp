// Encodes the documents of a file with any tokenizer, for comparison with other software. Not a user's tool.
//   encode_file TOKENIZER DOCUMENTS IDS [trusted]
// TOKENIZER is a .gguf, a tokenizer.json or a SentencePiece .model. DOCUMENTS and IDS are sequences of a 32-bit count
// (little-endian) and so many bytes or 32-bit ids. "trusted" makes control tokens of their spellings. Prints bytes, ids
// and seconds.
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "any_tokenizer.h"
#include "base/error.h"
#include "tokenizer/tokenizer.h"

namespace {

/// Processor time of this program: other programs do not count.
double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

int run(const char* tokenizer_path, const char* documents_path, const char* ids_path, bool trusted) {
  double start = processor_seconds();
  const auto tokenizer = moebox::test::load_any_tokenizer(tokenizer_path);
  const double load_seconds = processor_seconds() - start;
  const std::string documents = moebox::test::read_any_file(documents_path);
  std::ofstream out(ids_path, std::ios::binary);
  std::size_t bytes = 0, ids = 0;
  double seconds = 0;
  for (std::size_t at = 0; at + 4 <= documents.size();) {
    std::uint32_t size;
    std::memcpy(&size, documents.data() + at, 4);
    const std::string_view text = std::string_view(documents).substr(at + 4, size);
    at += 4 + size;
    start = processor_seconds();
    const auto encoded = tokenizer->encode(text, false, trusted);
    seconds += processor_seconds() - start;
    const auto count = static_cast<std::uint32_t>(encoded.size());
    out.write(reinterpret_cast<const char*>(&count), 4);
    out.write(reinterpret_cast<const char*>(encoded.data()), static_cast<std::streamsize>(count * sizeof encoded[0]));
    bytes += text.size();
    ids += count;
  }
  std::printf("%zu bytes, %zu ids, load %.3f s, encode %.3f s, %.2f MB/s\n", bytes, ids, load_seconds, seconds,
              static_cast<double>(bytes) / 1e6 / seconds);
  return out.good() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: encode_file TOKENIZER DOCUMENTS IDS [trusted]\n");
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3], argc > 4 && std::strcmp(argv[4], "trusted") == 0);
  } catch (const moebox::Error& error) {
    std::fprintf(stderr, "%s: %s\n", error.where().c_str(), error.message().c_str());
    return 1;
  }
}
