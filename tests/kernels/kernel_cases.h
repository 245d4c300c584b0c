// What the kernel tests share: deterministic random numbers, random stored matrices of every type, packed matrices, and
// the list of instruction sets to run under.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/float_types.h"
#include "kernels/kernels.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"

namespace moebox::test {

inline constexpr float infinity = std::numeric_limits<float>::infinity();

inline constexpr DType all_dtypes[] = {DType::f32,  DType::f16,  DType::bf16, DType::q8_0,   DType::q4_0,
                                       DType::q4_1, DType::q5_0, DType::q5_1, DType::iq4_nl, DType::mxfp4,
                                       DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k,   DType::q6_k};

/// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  float gaussian() {
    return static_cast<float>(std::sqrt(-2 * std::log(1 - uniform())) * std::cos(6.283185307179586 * uniform()));
  }
  int below(int n) { return static_cast<int>(next() % static_cast<std::uint64_t>(n)); }

 private:
  std::uint64_t state_;
};

/// Bytes at an address that is a multiple of 64.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::size_t size = 0) : size_(size), data_(new(std::align_val_t{64}) std::byte[size + 64]{}) {}
  ~AlignedBytes() { operator delete[](data_, std::align_val_t{64}); }
  AlignedBytes(const AlignedBytes&) = delete;
  AlignedBytes& operator=(const AlignedBytes&) = delete;
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::size_t size_;
  std::byte* data_;
};

/// Hadamard's transform of 32 values, in their own order, without its factor.
template <class T>
void hadamard(T* x) {
  for (int h = 1; h < 32; h *= 2) {
    for (int i = 0; i < 32; ++i) {
      if ((i & h) != 0) continue;
      const T a = x[i], b = x[i + h];
      x[i] = a + b, x[i + h] = a - b;
    }
  }
}

/// The whole groups of a row of a head's keys, or of a query, as a Q8_0 cache rotates them.
inline std::vector<float> rotated(std::vector<float> row) {
  for (std::size_t d = 0; d + 32 <= row.size(); d += 32) {
    hadamard(&row[d]);
    for (std::size_t i = 0; i < 32; ++i) row[d + i] *= 0.17677669529663687f;
  }
  return row;
}

inline std::vector<float> gaussians(Random& random, std::size_t n) {
  std::vector<float> values(n);
  for (float& v : values) v = random.gaussian() * (random.below(100) == 0 ? 8.0f : 1.0f);
  return values;
}

/// A stored matrix with random contents: any bits where a format has integers, sensible numbers where it has floats.
/// It lies at an odd address, as a mapped file may have it.
struct StoredMatrix {
  DType dtype;
  int n_rows, n_columns;
  std::vector<std::byte> bytes;
  TensorView view;

  StoredMatrix(DType type, int rows, int columns, std::uint64_t seed) : dtype(type), n_rows(rows), n_columns(columns) {
    const DTypeInfo& i = info(type);
    const std::size_t size = row_bytes(type, static_cast<std::size_t>(columns)) * static_cast<std::size_t>(rows);
    bytes.resize(size + 1);
    Random random(seed);
    for (std::size_t at = 1; at < bytes.size(); at += static_cast<std::size_t>(i.block_bytes))
      fill(&bytes[at], i, random);
    view.name = "random";
    view.dtype = type;
    view.rank = 2;
    view.shape = {rows, columns};
    view.data = {bytes.data() + 1, size};
  }

  std::vector<float> row(int index) const {
    std::vector<float> values(static_cast<std::size_t>(n_columns));
    const std::size_t size = row_bytes(dtype, values.size());
    dequantize_row(dtype, view.data.data() + static_cast<std::size_t>(index) * size, values.data(), values.size());
    return values;
  }

 private:
  static void put_half(std::byte* at, double value) {
    const Half half = to_half(static_cast<float>(value));
    std::memcpy(at, &half, 2);
  }
  static void fill(std::byte* block, const DTypeInfo& i, Random& random) {
    for (int j = 0; j < i.block_bytes; ++j) block[j] = static_cast<std::byte>(random.next());
    const double size = 0.02 * (0.5 + random.uniform());
    const float gaussian = static_cast<float>(size) * random.gaussian();
    switch (i.dtype) {
      case DType::f8_e4m3:
        break;  // the bytes are random already
      case DType::f32:
        std::memcpy(block, &gaussian, 4);
        break;
      case DType::f16:
        put_half(block, gaussian);
        break;
      case DType::bf16: {
        const BFloat16 b = to_bfloat16(gaussian);
        std::memcpy(block, &b, 2);
        break;
      }
      case DType::q8_0:
        put_half(block, size / 64);
        break;
      case DType::q4_0:
        put_half(block, size / 8);
        break;
      case DType::q4_1:
        put_half(block, size / 8);
        put_half(block + 2, -size);
        break;
      case DType::q5_0:
        put_half(block, size / 16);
        break;
      case DType::q5_1:
        put_half(block, size / 16);
        put_half(block + 2, -size);
        break;
      case DType::iq4_nl:
        put_half(block, -size / 64);
        break;
      case DType::mxfp4:
        block[0] = static_cast<std::byte>(118 + random.below(4));
        break;
      case DType::q2_k:
        put_half(block + 80, size / 16);
        put_half(block + 82, size / 8);
        break;
      case DType::q3_k:
        put_half(block + 108, size / 64);
        break;
      case DType::q4_k:
        put_half(block, size / 256);
        put_half(block + 2, size / 32);
        break;
      case DType::q5_k:
        put_half(block, size / 512);
        put_half(block + 2, size / 32);
        break;
      case DType::q6_k:
        put_half(block + 208, size / 2048);
        break;
    }
  }
};

struct Packed {
  AlignedBytes bytes;
  PackedMatrix matrix;

  explicit Packed(const StoredMatrix& stored)
      : bytes(packed_panel_bytes(stored.dtype, stored.n_columns) *
              static_cast<std::size_t>((stored.n_rows + 31) / 32)) {
    matrix = {stored.dtype, stored.n_rows, stored.n_columns, packed_panel_bytes(stored.dtype, stored.n_columns),
              bytes.data()};
    pack_panels(stored.view, 0, matrix.n_panels(), bytes.data());
  }
};

inline std::string isa_name(const ::testing::TestParamInfo<Isa>& info) { return std::string(name(info.param)); }

/// The same bits, NaN counted as equal to NaN.
inline ::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << "sizes " << a.size() << " and " << b.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      return ::testing::AssertionFailure() << "at " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace moebox::test
