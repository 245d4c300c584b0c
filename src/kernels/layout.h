// Where things lie in packed panels: offsets in one unit of 32 rows x one block of columns, and how a stored block is
// cut up. Plain constants, so that the packer and every instruction set read the same page. It holds no code.
//
// A panel is 32 rows x all columns as one stream of units. A unit holds the block's parts field by field:
//   - a number per row (a half, or MXFP4's exponent byte): 32 of them side by side;
//   - all else in registers of 64 bytes: 4 bytes of each of 16 rows, first rows 0-15 (group 0), then rows 16-31 (group
//   1).
// So a register of weights holds 4 consecutive columns of 16 rows, and nibbles keep the pairing that the file has.
// F32, F16 and BF16 have a unit of one column: 32 numbers side by side.
#pragma once

#include <cstdint>

namespace moebox {

extern const std::int8_t iq4_nl_table[16];  // tensor/quant/iq4_nl.cpp
extern const std::int8_t mxfp4_table[16];   // tensor/quant/mxfp4.cpp

namespace layout {

/// Of all that this page says, and of pack_panels(). Raise it when a packed byte changes: files of packed weights are
/// then made anew (tests/kernels/layout_version_test.cpp).
inline constexpr std::uint32_t version = 2;

inline constexpr int rows = 32;
inline constexpr int group_rows = 16;
inline constexpr int register_bytes = 64;

// `ggml_type` is the value of the DType. `columns` and `stored_bytes` are those of a stored block, `bytes` those of a
// packed unit. Fields are offsets into the unit; *_group is the distance from group 0 to group 1.

struct F32 {
  static constexpr int ggml_type = 0, columns = 1, stored_bytes = 4, bytes = 128;
};
struct F16 {
  static constexpr int ggml_type = 1, columns = 1, stored_bytes = 2, bytes = 64;
};
struct BF16 {
  static constexpr int ggml_type = 30, columns = 1, stored_bytes = 2, bytes = 64;
};

struct Q8_0 {
  static constexpr int ggml_type = 8, columns = 32, stored_bytes = 34, bytes = 1088;
  static constexpr int scale = 0, data = 64, data_group = 512;  // 8 registers a group
};
struct Q4_0 {
  static constexpr int ggml_type = 2, columns = 32, stored_bytes = 18, bytes = 576;
  static constexpr int scale = 0, data = 64, data_group = 256;  // 4 registers: columns 0-15 low, 16-31 high
};
struct IQ4_NL : Q4_0 {
  static constexpr int ggml_type = 20;
};
struct Q4_1 {
  static constexpr int ggml_type = 3, columns = 32, stored_bytes = 20, bytes = 640;
  static constexpr int scale = 0, minimum = 64, data = 128, data_group = 256;
};
// The fifth bits are one register: bit i of a row's byte j belongs to column 4 * i + j, that is to register i of the
// block.
struct Q5_0 {
  static constexpr int ggml_type = 6, columns = 32, stored_bytes = 22, bytes = 704;
  static constexpr int scale = 0, plane = 64, plane_group = 320, data = 128, data_group = 320;
};
struct Q5_1 {
  static constexpr int ggml_type = 7, columns = 32, stored_bytes = 24, bytes = 768;
  static constexpr int scale = 0, minimum = 64, plane = 128, plane_group = 320, data = 192, data_group = 320;
};
struct MXFP4 {
  static constexpr int ggml_type = 39, columns = 32, stored_bytes = 17, bytes = 544;
  static constexpr int exponent = 0, data = 32, data_group = 256;
};

// Blocks of 256 columns. Scales are kept as stored, 4 bytes of a row to a register.
struct Q4_K {
  static constexpr int ggml_type = 12, columns = 256, stored_bytes = 144, bytes = 4608;
  static constexpr int scale = 0, minimum = 64, scales = 128, scales_group = 192;  // 3 registers
  static constexpr int data = 512, data_part = 1024, data_group = 512;             // 4 parts of 64 columns: 8 registers
};
struct Q5_K {
  static constexpr int ggml_type = 13, columns = 256, stored_bytes = 176, bytes = 5632;
  static constexpr int scale = 0, minimum = 64, scales = 128, scales_group = 192;
  static constexpr int high = 512, high_group = 512;  // 8 registers: bit j of a byte belongs to columns 32 * j ...
  static constexpr int data = 1536, data_part = 1024, data_group = 512;
};
struct Q6_K {
  static constexpr int ggml_type = 14, columns = 256, stored_bytes = 210, bytes = 6720;
  static constexpr int scale = 0, scales = 64, scales_group = 256;  // 4 registers
  // 2 parts of 128 columns: 8 times a register of two bits and two of four, in the order in which they are read.
  static constexpr int data = 576, data_part = 3072, data_group = 1536;
  static constexpr int high = 0, low = 64, low_half = 64, data_step = 192;
};
struct Q3_K {
  static constexpr int ggml_type = 11, columns = 256, stored_bytes = 110, bytes = 3520;
  static constexpr int scale = 0, scales = 64, scales_group = 192;
  static constexpr int high = 448, high_group = 512;                     // as in Q5_K
  static constexpr int data = 1472, data_part = 1024, data_group = 512;  // 2 parts of 128 columns: 8 registers
};
struct Q2_K {
  static constexpr int ggml_type = 10, columns = 256, stored_bytes = 84, bytes = 2688;
  static constexpr int scale = 0, minimum = 64, scales = 128, scales_group = 256;  // 4 registers
  static constexpr int data = 640, data_part = 1024, data_group = 512;  // 2 parts of 128 columns: 8 registers
};

}  // namespace layout
}  // namespace moebox
