#include "tensor/dequantize.h"

#include "tensor/quant/f8_e4m3.h"
#include "tensor/quant/iq4_nl.h"
#include "tensor/quant/mxfp4.h"
#include "tensor/quant/plain.h"
#include "tensor/quant/q2_k.h"
#include "tensor/quant/q3_k.h"
#include "tensor/quant/q4_0.h"
#include "tensor/quant/q4_1.h"
#include "tensor/quant/q4_k.h"
#include "tensor/quant/q5_0.h"
#include "tensor/quant/q5_1.h"
#include "tensor/quant/q5_k.h"
#include "tensor/quant/q6_k.h"
#include "tensor/quant/q8_0.h"

namespace moebox {
namespace {

template <class Block>
void dequantize_blocks(const std::byte* row, float* out, std::size_t n_elements) noexcept {
  const auto* blocks = reinterpret_cast<const Block*>(row);
  constexpr auto block_elements = static_cast<std::size_t>(Block::n_elements);
  for (std::size_t i = 0; i < n_elements / block_elements; ++i) dequantize(blocks[i], out + i * block_elements);
}

}  // namespace

void dequantize_row(DType dtype, const std::byte* row, float* out, std::size_t n_elements) noexcept {
  switch (dtype) {
    case DType::f32:
      return floats_from_f32(row, out, n_elements);
    case DType::f16:
      return floats_from_f16(row, out, n_elements);
    case DType::bf16:
      return floats_from_bf16(row, out, n_elements);
    case DType::q8_0:
      return dequantize_blocks<BlockQ8_0>(row, out, n_elements);
    case DType::q4_0:
      return dequantize_blocks<BlockQ4_0>(row, out, n_elements);
    case DType::q4_1:
      return dequantize_blocks<BlockQ4_1>(row, out, n_elements);
    case DType::q5_0:
      return dequantize_blocks<BlockQ5_0>(row, out, n_elements);
    case DType::q5_1:
      return dequantize_blocks<BlockQ5_1>(row, out, n_elements);
    case DType::q2_k:
      return dequantize_blocks<BlockQ2_K>(row, out, n_elements);
    case DType::q3_k:
      return dequantize_blocks<BlockQ3_K>(row, out, n_elements);
    case DType::q4_k:
      return dequantize_blocks<BlockQ4_K>(row, out, n_elements);
    case DType::q5_k:
      return dequantize_blocks<BlockQ5_K>(row, out, n_elements);
    case DType::q6_k:
      return dequantize_blocks<BlockQ6_K>(row, out, n_elements);
    case DType::iq4_nl:
      return dequantize_blocks<BlockIQ4_NL>(row, out, n_elements);
    case DType::mxfp4:
      return dequantize_blocks<BlockMXFP4>(row, out, n_elements);
    case DType::f8_e4m3:
      return floats_from_f8_e4m3(row, out, n_elements);
  }
}

}  // namespace moebox
