#include "io/safetensors_writer.h"

#include <bit>
#include <cstring>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace moebox {

std::string safetensors_header(const std::vector<SafetensorsEntry>& entries,
                               const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    header[entry.name] = {
        {"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {offset, offset + entry.n_bytes}}};
    offset += entry.n_bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::invalid_argument, "a name or a value of the metadata is not UTF-8", "safetensors header");
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t n_bytes = text.size();
  static_assert(std::endian::native == std::endian::little);
  std::string file(sizeof n_bytes, '\0');
  std::memcpy(file.data(), &n_bytes, sizeof n_bytes);
  return file + text;
}

}  // namespace moebox
