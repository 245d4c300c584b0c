#include "tensor/quantize.h"

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
void quantize_blocks(const float* values, std::byte* row, std::size_t n_elements) noexcept {
  auto* blocks = reinterpret_cast<Block*>(row);
  constexpr auto block_elements = static_cast<std::size_t>(Block::n_elements);
  for (std::size_t i = 0; i < n_elements / block_elements; ++i) quantize(values + i * block_elements, blocks[i]);
}

}  // namespace

void quantize_row(DType dtype, const float* values, std::byte* row, std::size_t n_elements) noexcept {
  switch (dtype) {
    case DType::f32:
      return floats_to_f32(values, row, n_elements);
    case DType::f16:
      return floats_to_f16(values, row, n_elements);
    case DType::bf16:
      return floats_to_bf16(values, row, n_elements);
    case DType::q8_0:
      return quantize_blocks<BlockQ8_0>(values, row, n_elements);
    case DType::q4_0:
      return quantize_blocks<BlockQ4_0>(values, row, n_elements);
    case DType::q4_1:
      return quantize_blocks<BlockQ4_1>(values, row, n_elements);
    case DType::q5_0:
      return quantize_blocks<BlockQ5_0>(values, row, n_elements);
    case DType::q5_1:
      return quantize_blocks<BlockQ5_1>(values, row, n_elements);
    case DType::q2_k:
      return quantize_blocks<BlockQ2_K>(values, row, n_elements);
    case DType::q3_k:
      return quantize_blocks<BlockQ3_K>(values, row, n_elements);
    case DType::q4_k:
      return quantize_blocks<BlockQ4_K>(values, row, n_elements);
    case DType::q5_k:
      return quantize_blocks<BlockQ5_K>(values, row, n_elements);
    case DType::q6_k:
      return quantize_blocks<BlockQ6_K>(values, row, n_elements);
    case DType::iq4_nl:
      return quantize_blocks<BlockIQ4_NL>(values, row, n_elements);
    case DType::mxfp4:
      return quantize_blocks<BlockMXFP4>(values, row, n_elements);
    case DType::f8_e4m3:
      return;
  }
}

}  // namespace moebox
