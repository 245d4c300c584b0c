#include "tensor/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "base/checked.h"
#include "base/error.h"
#include "tensor/quant/iq4_nl.h"
#include "tensor/quant/mxfp4.h"
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
constexpr DTypeInfo block_type(DType dtype, std::string_view name) {
  return {dtype, name, Block::n_elements, static_cast<int>(sizeof(Block))};
}

constexpr std::array types{
    DTypeInfo{DType::f32, "F32", 1, 4},
    DTypeInfo{DType::f16, "F16", 1, 2},
    block_type<BlockQ4_0>(DType::q4_0, "Q4_0"),
    block_type<BlockQ4_1>(DType::q4_1, "Q4_1"),
    block_type<BlockQ5_0>(DType::q5_0, "Q5_0"),
    block_type<BlockQ5_1>(DType::q5_1, "Q5_1"),
    block_type<BlockQ8_0>(DType::q8_0, "Q8_0"),
    block_type<BlockQ2_K>(DType::q2_k, "Q2_K"),
    block_type<BlockQ3_K>(DType::q3_k, "Q3_K"),
    block_type<BlockQ4_K>(DType::q4_k, "Q4_K"),
    block_type<BlockQ5_K>(DType::q5_k, "Q5_K"),
    block_type<BlockQ6_K>(DType::q6_k, "Q6_K"),
    block_type<BlockIQ4_NL>(DType::iq4_nl, "IQ4_NL"),
    DTypeInfo{DType::bf16, "BF16", 1, 2},
    block_type<BlockMXFP4>(DType::mxfp4, "MXFP4"),
    DTypeInfo{DType::f8_e4m3, "F8_E4M3", 1, 1},
};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::toupper(static_cast<unsigned char>(x)) == std::toupper(static_cast<unsigned char>(y));
  });
}

}  // namespace

const DTypeInfo& info(DType dtype) noexcept {
  // A DType outside the enumeration is a bug of the caller; there is no file that can make one (dtype_from_ggml).
  const auto* found =
      std::find_if(types.begin(), types.end(), [&](const DTypeInfo& type) { return type.dtype == dtype; });
  return found != types.end() ? *found : types.front();
}

std::optional<DType> dtype_from_ggml(std::uint32_t ggml_type) noexcept {
  for (const DTypeInfo& type : types) {
    if (type.dtype != DType::f8_e4m3 && static_cast<std::uint32_t>(type.dtype) == ggml_type) return type.dtype;
  }
  return std::nullopt;
}

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const DTypeInfo& type : types) {
    if (equal_ignoring_case(type.name, name)) return type.dtype;
  }
  return std::nullopt;
}

std::size_t row_bytes(DType dtype, std::size_t n_elements) {
  const DTypeInfo& type = info(dtype);
  const auto block_elements = static_cast<std::size_t>(type.block_elements);
  if (n_elements % block_elements != 0) {
    throw Error(ErrorKind::invalid_file, "a row of type " + std::string(type.name) + " must be a multiple of " +
                                             std::to_string(block_elements) + " elements, found " +
                                             std::to_string(n_elements));
  }
  return checked_mul(n_elements / block_elements, static_cast<std::size_t>(type.block_bytes), "bytes of a row");
}

}  // namespace moebox
