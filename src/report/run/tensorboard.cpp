#include "report/run/tensorboard.h"

#include <array>
#include <bit>
#include <type_traits>

namespace moebox::report {
namespace {

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  constexpr std::uint32_t polynomial = 0x82f63b78;  // Castagnoli's, bits reversed
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? polynomial : 0);
    table[i] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> crc_table = make_crc_table();

/// Little-endian.
template <class T>
void append_fixed(std::string& out, T value) {
  using Bits = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
  auto bits = std::bit_cast<Bits>(value);
  for (std::size_t i = 0; i < sizeof(T); ++i, bits >>= 8) out += static_cast<char>(bits & 0xff);
}

void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>((value & 0x7f) | 0x80);
  out += static_cast<char>(value);
}

// Protobuf's wire types.
enum : std::uint64_t { wire_varint = 0, wire_fixed64 = 1, wire_bytes = 2, wire_fixed32 = 5 };

void append_key(std::string& out, std::uint64_t field, std::uint64_t wire_type) {
  append_varint(out, field << 3 | wire_type);
}
void append_bytes(std::string& out, std::uint64_t field, std::string_view bytes) {
  append_key(out, field, wire_bytes);
  append_varint(out, bytes.size());
  out += bytes;
}

// Fields of Event.
enum : std::uint64_t {
  event_wall_time = 1,
  event_step = 2,
  event_file_version = 3,
  event_summary = 5,
  event_session_log = 7
};

std::string event_begin(double wall_time, std::int64_t step) {
  std::string event;
  append_key(event, event_wall_time, wire_fixed64);
  append_fixed(event, wall_time);
  if (step == 0) return event;
  append_key(event, event_step, wire_varint);
  append_varint(event, static_cast<std::uint64_t>(step));
  return event;
}

std::uint32_t masked(std::uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; }

std::string record_of(const std::string& event) {
  std::string record;
  append_fixed(record, static_cast<std::uint64_t>(event.size()));
  append_fixed(record, masked(crc32c(record)));
  record += event;
  append_fixed(record, masked(crc32c(event)));
  return record;
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) noexcept {
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = crc_table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string version_record(double wall_time) {
  std::string event = event_begin(wall_time, 0);
  append_bytes(event, event_file_version, "brain.Event:2");
  return record_of(event);
}

std::string start_record(double wall_time, std::int64_t step) {
  constexpr std::uint64_t status_field = 1, status_start = 1;
  std::string session;
  append_key(session, status_field, wire_varint);
  append_varint(session, status_start);
  std::string event = event_begin(wall_time, step);
  append_bytes(event, event_session_log, session);
  return record_of(event);
}

std::string scalars_record(double wall_time, std::int64_t step, const std::vector<Scalar>& scalars) {
  constexpr std::uint64_t summary_value = 1, value_tag = 1, value_simple = 2;
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;
    append_bytes(value, value_tag, tag);
    append_key(value, value_simple, wire_fixed32);
    append_fixed(value, static_cast<float>(number));
    append_bytes(summary, summary_value, value);
  }
  std::string event = event_begin(wall_time, step);
  append_bytes(event, event_summary, summary);
  return record_of(event);
}

}  // namespace moebox::report
