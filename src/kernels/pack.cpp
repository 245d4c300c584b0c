// Stored rows -> panels, and one row back. Which bytes go where is a table of fields per format (layout.h); values are
// not touched.
#include <array>
#include <cstring>
#include <initializer_list>

#include "kernels/activations.h"
#include "kernels/kernels.h"
#include "kernels/layout.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"

namespace moebox {
namespace {

enum class FieldKind {
  bytes,   // `count` bytes of each row; rows side by side
  dwords,  // `count` times 4 bytes of each row: registers of 16 rows, a group after the other
  plane,   // 4 bytes whose bit k belongs to column k: a register with bit i of byte j for column 4 * i + j
};

struct Field {
  FieldKind kind;
  int stored;  // offset in the stored block
  int count;
  int packed;                         // offset in the unit
  int group = 0;                      // from rows 0-15 to rows 16-31
  int step = layout::register_bytes;  // from a register to the next
};

struct Format {
  int columns = 0, stored_bytes = 0, packed_bytes = 0, n_fields = 0;
  std::array<Field, 8> fields{};
};

template <class L>
constexpr Format format(DType dtype, std::initializer_list<Field> fields) {
  if (static_cast<int>(dtype) != L::ggml_type) throw "layout.h has another number for this type";
  Format f{L::columns, L::stored_bytes, L::bytes, 0, {}};
  int bytes = 0;
  for (const Field& field : fields) {
    f.fields[static_cast<std::size_t>(f.n_fields++)] = field;
    bytes += field.kind == FieldKind::bytes ? field.count : 4 * field.count;
  }
  if (bytes != L::stored_bytes || L::bytes != layout::rows * L::stored_bytes) throw "a field is missing";
  return f;
}

constexpr Field bytes(int stored, int count, int packed) { return {FieldKind::bytes, stored, count, packed}; }
constexpr Field half(int stored, int packed) { return bytes(stored, 2, packed); }
constexpr Field dwords(int stored, int count, int packed, int group, int step = layout::register_bytes) {
  return {FieldKind::dwords, stored, count, packed, group, step};
}
constexpr Field plane(int stored, int packed, int group) { return {FieldKind::plane, stored, 1, packed, group}; }

constexpr Format format_of(DType dtype) {
  using namespace layout;
  switch (dtype) {
    case DType::f32:
      return format<F32>(dtype, {bytes(0, 4, 0)});
    case DType::f16:
      return format<F16>(dtype, {bytes(0, 2, 0)});
    case DType::bf16:
      return format<BF16>(dtype, {bytes(0, 2, 0)});
    case DType::q8_0:
      return format<Q8_0>(dtype, {half(0, Q8_0::scale), dwords(2, 8, Q8_0::data, Q8_0::data_group)});
    case DType::q4_0:
      return format<Q4_0>(dtype, {half(0, Q4_0::scale), dwords(2, 4, Q4_0::data, Q4_0::data_group)});
    case DType::iq4_nl:
      return format<IQ4_NL>(dtype, {half(0, IQ4_NL::scale), dwords(2, 4, IQ4_NL::data, IQ4_NL::data_group)});
    case DType::q4_1:
      return format<Q4_1>(dtype,
                          {half(0, Q4_1::scale), half(2, Q4_1::minimum), dwords(4, 4, Q4_1::data, Q4_1::data_group)});
    case DType::q5_0:
      return format<Q5_0>(dtype, {half(0, Q5_0::scale), plane(2, Q5_0::plane, Q5_0::plane_group),
                                  dwords(6, 4, Q5_0::data, Q5_0::data_group)});
    case DType::q5_1:
      return format<Q5_1>(dtype,
                          {half(0, Q5_1::scale), half(2, Q5_1::minimum), plane(4, Q5_1::plane, Q5_1::plane_group),
                           dwords(8, 4, Q5_1::data, Q5_1::data_group)});
    case DType::mxfp4:
      return format<MXFP4>(dtype, {bytes(0, 1, MXFP4::exponent), dwords(1, 4, MXFP4::data, MXFP4::data_group)});
    case DType::q4_k: {
      using L = Q4_K;
      return format<L>(dtype,
                       {half(0, L::scale), half(2, L::minimum), dwords(4, 3, L::scales, L::scales_group),
                        dwords(16, 8, L::data, L::data_group), dwords(48, 8, L::data + L::data_part, L::data_group),
                        dwords(80, 8, L::data + 2 * L::data_part, L::data_group),
                        dwords(112, 8, L::data + 3 * L::data_part, L::data_group)});
    }
    case DType::q5_k: {
      using L = Q5_K;
      return format<L>(dtype, {half(0, L::scale), half(2, L::minimum), dwords(4, 3, L::scales, L::scales_group),
                               dwords(16, 8, L::high, L::high_group), dwords(48, 8, L::data, L::data_group),
                               dwords(80, 8, L::data + L::data_part, L::data_group),
                               dwords(112, 8, L::data + 2 * L::data_part, L::data_group),
                               dwords(144, 8, L::data + 3 * L::data_part, L::data_group)});
    }
    case DType::q6_k: {
      using L = Q6_K;
      const auto data = [](int stored, int part, int field) {
        return dwords(stored, 8, L::data + part * L::data_part + field, L::data_group, L::data_step);
      };
      return format<L>(dtype, {data(0, 0, L::low), data(32, 0, L::low + L::low_half), data(64, 1, L::low),
                               data(96, 1, L::low + L::low_half), data(128, 0, L::high), data(160, 1, L::high),
                               dwords(192, 4, L::scales, L::scales_group), half(208, L::scale)});
    }
    case DType::q3_k: {
      using L = Q3_K;
      return format<L>(dtype, {dwords(0, 8, L::high, L::high_group), dwords(32, 8, L::data, L::data_group),
                               dwords(64, 8, L::data + L::data_part, L::data_group),
                               dwords(96, 3, L::scales, L::scales_group), half(108, L::scale)});
    }
    case DType::q2_k: {
      using L = Q2_K;
      return format<L>(
          dtype, {dwords(0, 4, L::scales, L::scales_group), dwords(16, 8, L::data, L::data_group),
                  dwords(48, 8, L::data + L::data_part, L::data_group), half(80, L::scale), half(82, L::minimum)});
    }
    case DType::f8_e4m3:
      break;  // becomes BF16 on the way: its scales are not in its blocks
  }
  return {};
}

// Evaluates every format while compiling, where a throw is an error.
constexpr bool all_formats_hold() {
  for (int i = 0; i < 256; ++i) {
    const Format format = format_of(static_cast<DType>(i));
    if (format.columns == 0 && format.n_fields != 0) return false;
  }
  return true;
}
static_assert(all_formats_hold());

// ---- bits ----

// Bit 4 * i + j <-> bit 8 * j + i.
std::uint32_t to_plane(std::uint32_t bits) noexcept {
  std::uint32_t plane = 0;
  for (int i = 0; i < 8; ++i) plane |= (((bits >> (4 * i)) & 15u) * 0x00204081u & 0x01010101u) << i;
  return plane;
}

std::uint32_t from_plane(std::uint32_t plane) noexcept {
  std::uint32_t bits = 0;
  for (int i = 0; i < 8; ++i) {
    for (int j = 0; j < 4; ++j) bits |= ((plane >> (8 * j + i)) & 1u) << (4 * i + j);
  }
  return bits;
}

std::uint32_t load_dword(const std::byte* p) noexcept {
  std::uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

void store_dword(std::byte* p, std::uint32_t value) noexcept { std::memcpy(p, &value, sizeof value); }

std::size_t offset(int value) noexcept { return static_cast<std::size_t>(value); }

// ---- one field ----

template <int size>
void pack_bytes(const std::byte* const* rows, int n_rows, std::byte* packed) noexcept {
  for (int row = 0; row < n_rows; ++row) std::memcpy(packed + size * row, rows[row], size);
}

void pack_field(const Field& field, const std::byte* const* blocks, int n_rows, std::byte* unit) noexcept {
  const std::byte* rows[layout::rows];
  for (int row = 0; row < n_rows; ++row) rows[row] = blocks[row] + field.stored;
  std::byte* packed = unit + field.packed;
  if (field.kind == FieldKind::bytes) {
    if (field.count == 1) return pack_bytes<1>(rows, n_rows, packed);
    if (field.count == 2) return pack_bytes<2>(rows, n_rows, packed);
    return pack_bytes<4>(rows, n_rows, packed);
  }
  for (int first = 0; first < n_rows; first += layout::group_rows, packed += field.group) {
    const int n = n_rows - first < layout::group_rows ? n_rows - first : layout::group_rows;
    for (int i = 0; i < field.count; ++i) {
      std::byte* to = packed + field.step * i;
      for (int row = 0; row < n; ++row) {
        const std::uint32_t value = load_dword(rows[first + row] + 4 * i);
        store_dword(to + 4 * row, field.kind == FieldKind::plane ? to_plane(value) : value);
      }
    }
  }
}

// Columns of plain numbers: a transposition of n_rows x n_columns.
template <class Number>
void transpose(const std::byte* const* rows, int n_rows, int n_columns, std::byte* panel) noexcept {
  constexpr int strip = 16;  // columns whose packed lines stay in the nearest cache while the rows pass
  for (int first = 0; first < n_columns; first += strip) {
    const int last = first + strip < n_columns ? first + strip : n_columns;
    for (int row = 0; row < n_rows; ++row) {
      const std::byte* from = rows[row] + sizeof(Number) * offset(first);
      std::byte* to = panel + sizeof(Number) * (offset(first) * layout::rows + offset(row));
      for (int column = first; column < last; ++column, from += sizeof(Number), to += sizeof(Number) * layout::rows) {
        std::memcpy(to, from, sizeof(Number));
      }
    }
  }
}

void unpack_field(const Field& field, const std::byte* unit, int row, std::byte* block) noexcept {
  if (field.kind == FieldKind::bytes) {
    std::memcpy(block + field.stored, unit + field.packed + field.count * row, offset(field.count));
    return;
  }
  const std::byte* from = unit + field.packed + row / layout::group_rows * field.group + row % layout::group_rows * 4;
  for (int i = 0; i < field.count; ++i) {
    const std::uint32_t value = load_dword(from + field.step * i);
    store_dword(block + field.stored + 4 * i, field.kind == FieldKind::plane ? from_plane(value) : value);
  }
}

}  // namespace

ActivationType activation_type(DType weights) noexcept {
  const int columns = format_of(weights).columns;
  return columns == 1    ? ActivationType::f32
         : columns == 32 ? ActivationType::int8_block32
                         : ActivationType::int8_block256;
}

std::size_t packed_panel_bytes(DType dtype, int n_columns) noexcept {
  const Format format = format_of(dtype);
  return offset(n_columns / format.columns) * offset(format.packed_bytes);
}

std::size_t activation_bytes(ActivationType type, int n_tokens, int n_columns) noexcept {
  const int n_full = n_tokens / activation_block_tokens, rest = n_tokens % activation_block_tokens;
  const std::size_t full = activation_token_block_bytes(type, activation_block_tokens, n_columns);
  return offset(n_full) * full + (rest == 0 ? 0 : activation_token_block_bytes(type, rest, n_columns));
}

void pack_panels(const TensorView& stored, int first_panel, int last_panel, std::byte* panels) noexcept {
  const Format format = format_of(stored.dtype);
  const auto n_units = static_cast<int>(stored.n_columns()) / format.columns;
  const std::size_t stored_row_bytes = offset(n_units) * offset(format.stored_bytes);
  const std::size_t panel_bytes = offset(n_units) * offset(format.packed_bytes);
  for (int panel = first_panel; panel < last_panel; ++panel) {
    const std::int64_t first_row = std::int64_t{panel} * panel_rows;
    const std::int64_t rest = stored.n_rows() - first_row;
    const int n_rows = rest < panel_rows ? static_cast<int>(rest) : panel_rows;
    std::byte* unit = panels + offset(panel) * panel_bytes;
    if (n_rows < panel_rows) std::memset(unit, 0, panel_bytes);
    const std::byte* blocks[panel_rows];
    for (int row = 0; row < n_rows; ++row) {
      blocks[row] = stored.data.data() + static_cast<std::size_t>(first_row + row) * stored_row_bytes;
    }
    if (format.columns == 1) {
      format.stored_bytes == 4 ? transpose<std::uint32_t>(blocks, n_rows, n_units, unit)
                               : transpose<std::uint16_t>(blocks, n_rows, n_units, unit);
      continue;
    }
    for (int i = 0; i < n_units; ++i, unit += format.packed_bytes) {
      for (int f = 0; f < format.n_fields; ++f) pack_field(format.fields[offset(f)], blocks, n_rows, unit);
      for (int row = 0; row < n_rows; ++row) blocks[row] += format.stored_bytes;
    }
  }
}

void unpack_row(const PackedMatrix& matrix, int row, float* out) noexcept {
  const Format format = format_of(matrix.dtype);
  const std::byte* unit = matrix.data + offset(row / panel_rows) * matrix.panel_bytes;
  std::byte block[256];
  for (int column = 0; column < matrix.n_columns; column += format.columns, unit += format.packed_bytes) {
    for (int f = 0; f < format.n_fields; ++f) unpack_field(format.fields[offset(f)], unit, row % panel_rows, block);
    dequantize_row(matrix.dtype, block, out + column, offset(format.columns));
  }
}

}  // namespace moebox
