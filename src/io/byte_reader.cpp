#include "io/byte_reader.h"

#include <cstdint>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox {

std::span<const std::byte> ByteReader::take(std::size_t n_bytes, std::string_view what) {
  if (n_bytes > remaining()) {
    throw Error(
        ErrorKind::invalid_file,
        fmt::format("{} at byte {} needs {} bytes, but only {} are left", what, position_, n_bytes, remaining()),
        std::string(where_), "the file is cut short or damaged: fetch it again");
  }
  const auto taken = bytes_.subspan(position_, n_bytes);
  position_ += n_bytes;
  return taken;
}

std::string_view ByteReader::string(std::string_view what, std::size_t max_bytes) {
  const std::size_t start = position_;
  const auto n_bytes = number<std::uint64_t>(what);
  if (n_bytes > max_bytes) {
    throw Error(
        ErrorKind::invalid_file,
        fmt::format("{} at byte {} says it is {} bytes long; at most {} are allowed", what, start, n_bytes, max_bytes),
        std::string(where_), "the file is damaged or hostile: fetch it again from a source you trust");
  }
  const auto taken = take(static_cast<std::size_t>(n_bytes), what);
  return {reinterpret_cast<const char*>(taken.data()), taken.size()};
}

}  // namespace moebox
