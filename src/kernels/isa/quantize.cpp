// Activations: f32 -> what matmul() reads. Compiled once for each instruction set.
#include "kernels/activations.h"
#include "kernels/isa/functions.h"
#include "kernels/simd/simd.h"

namespace moebox::MOEBOX_SIMD {
namespace {

// Below this a block counts as zero: its scale, or 127 / amax, would leave the range of float.
constexpr float smallest_maximum = 0x1p-100f;
constexpr std::int32_t infinity_bits = 0x7f800000;

struct Rounding {
  float scale;    // amax / 127; 0 for a block of zeros, NaN for one with a NaN or an infinity
  float inverse;  // 127 / amax; 0 for a block whose int8 are all 0
};

// `amax_bits` are the bits of the largest |x|. As integers these are ordered like the values, infinity and NaN last.
MOEBOX_OP Rounding rounding(std::int32_t amax_bits) {
  if (amax_bits >= infinity_bits) return {__builtin_nanf(""), 0};
  float amax;
  std::memcpy(&amax, &amax_bits, sizeof amax);
  if (amax < smallest_maximum) return {0, 0};
  return {amax / 127.0f, 127.0f / amax};
}

MOEBOX_OP Ints magnitudes(const float* x) {
  const Ints mask = splat_int(0x7fffffff);
  return maximum(bit_and(bits(load(x)), mask), bit_and(bits(load(x + 16)), mask));
}

struct Sums {
  std::int32_t first16, second16;
};

// 32 values to int8; returns their sums.
MOEBOX_OP Sums round_block(const float* x, float inverse, std::int8_t* q) {
  if (inverse == 0) {
    std::memset(q, 0, 32);
    return {0, 0};
  }
  const Floats factor = splat(inverse);
  const Ints a = nearest_ints(mul(load(x), factor)), b = nearest_ints(mul(load(x + 16), factor));
  store_int8(q, a);
  store_int8(q + 16, b);
  return {sum_lanes(a), sum_lanes(b)};
}

// The token's place in its block of tokens.
struct Place {
  std::int8_t* q;      // of the block
  std::byte* records;  // of the block
  int token;           // within the block
  int n_tokens;        // of the block
};

void quantize32(const float* x, int column, int columns, Place place) {
  auto* records = reinterpret_cast<ActivationRecord32*>(place.records);
  for (int end = column + columns; column < end; column += 32) {
    const Rounding r = rounding(max_lanes(magnitudes(x + column)));
    const std::size_t index = static_cast<std::size_t>(column / 32) * static_cast<std::size_t>(place.n_tokens) +
                              static_cast<std::size_t>(place.token);
    const Sums sums = round_block(x + column, r.inverse, place.q + 32 * index);
    const std::int32_t sum = sums.first16 + sums.second16;
    records[index] = {-8 * sum, -16 * sum, -128 * sum, r.scale, r.scale * static_cast<float>(sum)};
  }
}

MOEBOX_OP std::int8_t high_part(std::int32_t sum) { return static_cast<std::int8_t>(sum >> 7); }
MOEBOX_OP std::int8_t low_part(std::int32_t sum) { return static_cast<std::int8_t>(sum & 127); }

void quantize256(const float* x, int column, Place place) {
  Ints largest = magnitudes(x + column);
  for (int i = 32; i < 256; i += 32) largest = maximum(largest, magnitudes(x + column + i));
  const Rounding r = rounding(max_lanes(largest));
  const std::size_t n_tokens = static_cast<std::size_t>(place.n_tokens), token = static_cast<std::size_t>(place.token);
  ActivationRecord256 record{};
  record.scale = r.scale;
  for (int i = 0; i < 8; ++i) {
    const std::size_t index = (static_cast<std::size_t>(column / 32) + static_cast<std::size_t>(i)) * n_tokens + token;
    const Sums sums = round_block(x + column + 32 * i, r.inverse, place.q + 32 * index);
    const std::int32_t sum = sums.first16 + sums.second16;
    record.sums32_high[i] = high_part(sum);
    record.sums32_low[i] = low_part(sum);
    record.sums16_high[2 * i] = high_part(sums.first16);
    record.sums16_low[2 * i] = low_part(sums.first16);
    record.sums16_high[2 * i + 1] = high_part(sums.second16);
    record.sums16_low[2 * i + 1] = low_part(sums.second16);
    record.start16_by_32[2 * i] = -32 * sums.first16;
    record.start16_by_32[2 * i + 1] = -32 * sums.second16;
  }
  const std::size_t index = static_cast<std::size_t>(column / 256) * n_tokens + token;
  std::memcpy(place.records + index * sizeof record, &record, sizeof record);
}

}  // namespace

void quantize(ActivationType type, const float* x, std::ptrdiff_t x_stride, int n_tokens, int n_columns, int first,
              int last, std::byte* activations) noexcept {
  if (type == ActivationType::f32) {
    for (int t = first; t < last; ++t) {
      const std::size_t row_bytes = static_cast<std::size_t>(n_columns) * sizeof(float);
      std::memcpy(activations + static_cast<std::size_t>(t) * row_bytes, x + t * x_stride, row_bytes);
    }
    return;
  }
  const std::size_t full_block_bytes = activation_token_block_bytes(type, activation_block_tokens, n_columns);
  // Segments of 256 columns outside, a few tokens inside: the destination, (columns, token), is then written line by
  // line.
  constexpr int tokens_at_once = 32;
  while (first < last) {
    const int block = first / activation_block_tokens, block_first = block * activation_block_tokens;
    const int m = n_tokens - block_first < activation_block_tokens ? n_tokens - block_first : activation_block_tokens;
    std::byte* base = activations + static_cast<std::size_t>(block) * full_block_bytes;
    Place place{reinterpret_cast<std::int8_t*>(base), base + activation_records_offset(m, n_columns), 0, m};
    int stop = block_first + m < last ? block_first + m : last;
    if (stop > first + tokens_at_once) stop = first + tokens_at_once;
    for (int column = 0; column < n_columns; column += 256) {
      const int columns = n_columns - column < 256 ? n_columns - column : 256;
      for (int t = first; t < stop; ++t) {
        place.token = t - block_first;
        if (type == ActivationType::int8_block32) {
          quantize32(x + t * x_stride, column, columns, place);
        } else {
          quantize256(x + t * x_stride, column, place);
        }
      }
    }
    first = stop;
  }
}

}  // namespace moebox::MOEBOX_SIMD
