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
#include "memory_folder.h"
#include "read_tensors.h"

namespace {

constexpr std::array files{"config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors"};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const moebox::MemoryFolder folder;
  constexpr std::string_view cut = "\n====\n";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (const char* name : files) {
    const std::string_view content = rest.substr(0, rest.find(cut));
    rest.remove_prefix(std::min(rest.size(), content.size() + cut.size()));
    std::ofstream(folder / name, std::ios::binary) << content;
  }
  try {
    moebox::read_tensors(moebox::Checkpoint::open(folder.path()).tensors());
  } catch (const moebox::Error&) {
  }
  return 0;
}
