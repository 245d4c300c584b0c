#include <algorithm>
#include <cstdlib>

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernel_cases.h"

namespace moebox {
namespace {

TEST(Dispatch, OffersScalarFirstAndATableForEach) {
  const auto isas = available_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::scalar);
  for (const Isa isa : isas) EXPECT_EQ(kernel_table(isa).isa, isa);
}

TEST(Dispatch, OffersWhatTheProcessorHas) {
  const CpuFeatures cpu = detect_cpu();
  const auto isas = available_isas();
  const auto has = [&](Isa isa) { return std::find(isas.begin(), isas.end(), isa) != isas.end(); };
  EXPECT_EQ(has(Isa::avx2), cpu.avx2);
  EXPECT_EQ(has(Isa::avx512), cpu.avx512);
  EXPECT_EQ(has(Isa::avx512_bf16), cpu.avx512_bf16);
  EXPECT_EQ(has(Isa::neon), cpu.neon);
  EXPECT_EQ(has(Isa::neon_dotprod), cpu.neon_dotprod);
}

class Environment : public ::testing::Test {
 protected:
  void TearDown() override { unsetenv("MOEBOX_ISA"); }
};

TEST_F(Environment, NamesTheTable) {
  unsetenv("MOEBOX_ISA");
  EXPECT_EQ(kernel_table().isa, available_isas().back());
  setenv("MOEBOX_ISA", "scalar", 1);
  EXPECT_EQ(kernel_table().isa, Isa::scalar);
}

TEST_F(Environment, AnUnknownNameIsRefusedWithTheChoices) {
  setenv("MOEBOX_ISA", "sse9", 1);
  try {
    kernel_table();
    FAIL() << "sse9 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(error.message().find("sse9"), std::string::npos);
    EXPECT_NE(error.hint().find("scalar"), std::string::npos);
  }
}

TEST(Dispatch, AnotherFamilysTableIsRefused) {
#if defined(__x86_64__)
  EXPECT_THROW(kernel_table(Isa::neon), Error);
#else
  EXPECT_THROW(kernel_table(Isa::avx2), Error);
#endif
}

}  // namespace
}  // namespace moebox
