// TensorBoard's event files, byte by byte: records as TensorFlow frames them (length and CRC32C, both masked), each
// with an Event in protobuf's wire format. No library of theirs is needed to write one. Which figures go in is
// events.h. Source: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, framework/summary.proto.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moebox::report {

/// CRC-32C (Castagnoli), as iSCSI (RFC 3720) has it.
std::uint32_t crc32c(std::string_view bytes) noexcept;

/// The first record of every file. Times are seconds since 1970.
std::string version_record(double wall_time);
/// Says that a session begins with this step: readers forget what earlier files say of it and of later ones.
std::string start_record(double wall_time, std::int64_t step);

using Scalar = std::pair<std::string, double>;  // tag and value; kept as a float
std::string scalars_record(double wall_time, std::int64_t step, const std::vector<Scalar>& scalars);

}  // namespace moebox::report
