// How fast a tokenizer encodes and decodes, on one thread.
//   tokenizer_bench TOKENIZER DOCUMENTS [REPEATS]
// TOKENIZER is a .gguf, a tokenizer.json or a SentencePiece .model; DOCUMENTS is what tests/tokenizer/corpus.py writes.
// Each document is encoded by itself, as a server does. Prints the best of the repeats (5, if not said otherwise), by
// processor time: what else runs on the machine disturbs it through caches and clocks alone.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/error.h"
#include "tokenizer/any_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace {

std::vector<std::string_view> cut(std::string_view packed) {
  std::vector<std::string_view> documents;
  for (std::uint32_t size; packed.size() >= sizeof size; packed.remove_prefix(size)) {
    std::memcpy(&size, packed.data(), sizeof size);
    packed.remove_prefix(sizeof size);
    size = std::min(size, static_cast<std::uint32_t>(packed.size()));
    documents.push_back(packed.substr(0, size));
  }
  return documents;
}

template <class Action>
double seconds(Action&& action) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  action();
  return now() - start;
}

int run(const char* tokenizer_path, const char* documents_path, int repeats) {
  std::shared_ptr<const moebox::Tokenizer> tokenizer;
  const double load_seconds = seconds([&] { tokenizer = moebox::test::load_any_tokenizer(tokenizer_path); });
  const std::string packed = moebox::test::read_any_file(documents_path);
  const std::vector<std::string_view> documents = cut(packed);
  std::vector<std::vector<moebox::TokenId>> ids(documents.size());
  std::size_t bytes = 0, count = 0, decoded = 0;
  double encode = 1e30, decode = 1e30;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    encode = std::min(encode, seconds([&] {
                        for (std::size_t i = 0; i < documents.size(); ++i) ids[i] = tokenizer->encode(documents[i]);
                      }));
    decode = std::min(decode, seconds([&] {
                        for (const auto& one : ids) decoded += tokenizer->decode(one).size();
                      }));
  }
  for (std::size_t i = 0; i < documents.size(); ++i) bytes += documents[i].size(), count += ids[i].size();
  const double megabytes = static_cast<double>(bytes) / 1e6;
  std::printf("%s: load %.3f s, encode %.1f MB/s, decode %.1f MB/s (%zu documents, %.1f MB, %zu ids)\n", tokenizer_path,
              load_seconds, megabytes / encode, static_cast<double>(decoded) / repeats / 1e6 / decode, documents.size(),
              megabytes, count);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 3 ? std::atoi(argv[3]) : 5;
  if (argc < 3 || repeats < 1) {
    std::fprintf(stderr, "usage: tokenizer_bench TOKENIZER DOCUMENTS [REPEATS]\n");
    return 2;
  }
  try {
    return run(argv[1], argv[2], repeats);
  } catch (const moebox::Error& error) {
    std::fprintf(stderr, "%s: %s\n", error.where().c_str(), error.message().c_str());
    return 1;
  }
}
