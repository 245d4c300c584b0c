// A Hugging Face folder made of any bytes: the input, cut at "\n====\n", gives config.json, the index and two shards.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "io/checkpoint.h"
#include "read_tensors.h"

namespace {

constexpr std::array files{"config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors"};

/// A folder in memory where there is one, removed at exit.
class Folder {
 public:
  Folder() {
    const bool has_memory = std::filesystem::is_directory("/dev/shm");
    std::string pattern = has_memory ? "/dev/shm/moebox-fuzz-XXXXXX" : "/tmp/moebox-fuzz-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::filesystem::path path;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  constexpr std::string_view cut = "\n====\n";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (const char* name : files) {
    const std::string_view content = rest.substr(0, rest.find(cut));
    rest.remove_prefix(std::min(rest.size(), content.size() + cut.size()));
    std::ofstream(folder.path / name, std::ios::binary) << content;
  }
  try {
    moebox::read_tensors(moebox::Checkpoint::open(folder.path).tensors());
  } catch (const moebox::Error&) {
  }
  return 0;
}
