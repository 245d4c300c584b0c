#include "tensor/dtype.h"

#include <cstdint>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tensor/tensor_view.h"

namespace moebox {
namespace {

TEST(DType, SizesAreThoseOfTheFormatSpecification) {
  const auto expect = [](DType dtype, int elements, int bytes) {
    EXPECT_EQ(info(dtype).block_elements, elements) << name(dtype);
    EXPECT_EQ(info(dtype).block_bytes, bytes) << name(dtype);
  };
  expect(DType::f32, 1, 4);
  expect(DType::f16, 1, 2);
  expect(DType::bf16, 1, 2);
  expect(DType::q8_0, 32, 34);
  expect(DType::q4_0, 32, 18);
  expect(DType::q4_1, 32, 20);
  expect(DType::q5_0, 32, 22);
  expect(DType::q5_1, 32, 24);
  expect(DType::q2_k, 256, 84);
  expect(DType::q3_k, 256, 110);
  expect(DType::q4_k, 256, 144);
  expect(DType::q5_k, 256, 176);
  expect(DType::q6_k, 256, 210);
  expect(DType::iq4_nl, 32, 18);
  expect(DType::mxfp4, 32, 17);
}

TEST(DType, NumbersAndNamesLeadBackToTheType) {
  int known = 0;
  for (std::uint32_t number = 0; number < 300; ++number) {
    const auto dtype = dtype_from_ggml(number);
    if (!dtype) continue;
    ++known;
    EXPECT_EQ(static_cast<std::uint32_t>(*dtype), number);
    EXPECT_EQ(dtype_from_name(name(*dtype)), dtype);
  }
  EXPECT_EQ(known, 15);
  EXPECT_EQ(dtype_from_name("q4_k"), DType::q4_k);
  EXPECT_EQ(dtype_from_name("Bf16"), DType::bf16);
  EXPECT_FALSE(dtype_from_name("q4_"));
  EXPECT_FALSE(dtype_from_name(""));
  EXPECT_FALSE(dtype_from_ggml(4));  // was removed from the format
  EXPECT_FALSE(dtype_from_ggml(UINT32_MAX));
}

TEST(DType, RowsAreWholeBlocksAndDoNotOverflow) {
  EXPECT_EQ(row_bytes(DType::q4_k, 512), 288u);
  EXPECT_EQ(row_bytes(DType::f32, 0), 0u);
  EXPECT_THROW(row_bytes(DType::q4_k, 576), Error);
  EXPECT_THROW(row_bytes(DType::f32, SIZE_MAX / 2), Error);
}

TEST(TensorView, ShapesReadAsNumPyWritesThem) {
  TensorView view;
  view.rank = 2;
  view.shape = {49152, 576, 0, 0};
  EXPECT_EQ(shape_text(view), "(49152, 576)");
  EXPECT_EQ(view.n_rows(), 49152);
  EXPECT_EQ(view.n_columns(), 576);
  view.rank = 0;
  EXPECT_EQ(shape_text(view), "()");
  EXPECT_EQ(view.n_elements(), 1);
}

}  // namespace
}  // namespace moebox
