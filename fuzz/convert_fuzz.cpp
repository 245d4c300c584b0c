// Any Hugging Face folder and any GGUF file as what is converted: an Error and nothing left of it, or a file that
// opens; of a folder, one whose model and tokenizer moebox reads. The first byte chooses the types. Behind it is a GGUF
// file, or config.json, tokenizer.json and the header of model.safetensors, cut at "\n====\n". The tensors' bytes are
// made here, so that a small input has tensors: at most 64 KiB.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "convert/convert.h"
#include "convert/recipe.h"
#include "memory_folder.h"
#include "read_tensors.h"
#include "spec/architecture.h"
#include "spec/deepseek.h"
#include "tokenizer/tokenizer.h"

namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_data_bytes = std::size_t{64} << 10;

/// Bytes that are finite numbers in every type.
std::string data_bytes(std::size_t n) {
  std::string bytes(std::min(n, max_data_bytes), '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(0x38 + i * 5 % 8);
  return bytes;
}

/// Where the header's last tensor ends.
std::size_t end_of_data(std::string_view header) {
  const auto json = nlohmann::json::parse(header, nullptr, false);
  std::size_t end = 0;
  if (!json.is_object()) return end;
  for (const auto& entry : json) {
    if (!entry.is_object() || !entry.contains("data_offsets")) continue;
    const auto& offsets = entry["data_offsets"];
    if (offsets.is_array() && offsets.size() == 2 && offsets[1].is_number_unsigned())
      end = std::max(end, offsets[1].get<std::size_t>());
  }
  return end;
}

void write(const fs::path& path, std::string_view content, std::string_view data = {}) {
  std::ofstream(path, std::ios::binary) << content << data;
}

void write_folder(const fs::path& folder, std::string_view rest) {
  constexpr std::string_view cut = "\n====\n";
  std::array<std::string_view, 3> parts;
  for (std::string_view& part : parts) {
    part = rest.substr(0, rest.find(cut));
    rest.remove_prefix(std::min(rest.size(), part.size() + cut.size()));
  }
  const auto& [config, tokenizer, header] = parts;
  write(folder / "config.json", config);
  fs::remove(folder / "tokenizer.json");
  if (!tokenizer.empty()) write(folder / "tokenizer.json", tokenizer);
  const std::uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), sizeof size);
  write(folder / "model.safetensors", file.append(header), data_bytes(end_of_data(header)));
}

void read_model(const moebox::Checkpoint& written, bool has_tokenizer) {
  if (const auto read = moebox::architecture_of(written).read_llama_kind)
    read(written);
  else
    moebox::read_deepseek(written);
  if (has_tokenizer) moebox::Tokenizer::load(written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const moebox::MemoryFolder folder;
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  moebox::ConvertOptions options;
  const auto recipes = moebox::recipes();
  options.type = std::string(recipes[static_cast<std::size_t>(data[0] & 0x1f) % recipes.size()].name);
  options.whole_kv_b = (data[0] & 0x20) != 0;
  options.measure_error = (data[0] & 0x80) != 0;
  options.n_threads = 1;
  const bool gguf = input.substr(1).starts_with("GGUF");
  const fs::path in = gguf ? folder / "in.gguf" : folder.path(), out = folder / "out.gguf";
  if (gguf)
    write(in, input.substr(1), data_bytes(max_data_bytes));
  else
    write_folder(folder.path(), input.substr(1));
  bool has_tokenizer = false;
  try {
    has_tokenizer = moebox::convert(moebox::Checkpoint::open(in), out, options).has_tokenizer;
  } catch (const moebox::Error& error) {
    if (error.kind() == moebox::ErrorKind::internal || fs::exists(out)) std::abort();
    return 0;
  }
  const auto written = moebox::Checkpoint::open(out);  // an Error from here on is a finding
  moebox::read_tensors(written.tensors());
  if (!gguf) read_model(written, has_tokenizer);
  fs::remove(out);
  return 0;
}
