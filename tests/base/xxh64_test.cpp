// The checksum against values that python-xxhash computes.
#include "base/xxh64.h"

#include <string>

#include <gtest/gtest.h>

namespace moebox {
namespace {

std::uint64_t of(const std::string& text, std::uint64_t seed = 0) {
  return xxh64(std::as_bytes(std::span(text)), seed);
}

TEST(Xxh64, IsWhatOthersCompute) {
  EXPECT_EQ(of(""), 0xEF46DB3751D8E999u);
  EXPECT_EQ(of("a"), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(of("abc"), 0x44BC2CF5AD770999u);
  EXPECT_EQ(of("moebox"), 0x11692E744DE666B9u);
  EXPECT_EQ(of("moebox", 7u), 0x873348A589BCCDA4u);
  EXPECT_EQ(of(std::string(4, 'q')), 0xC5B12C9DDFF7D85Du);
  EXPECT_EQ(of(std::string(7, 'q')), 0x153F81ABE58EA5D6u);
  EXPECT_EQ(of(std::string(8, 'q')), 0x26545F58A19F7A7Au);
  EXPECT_EQ(of(std::string(31, 'q')), 0xC5DE6C8BB3485C3Au);
  EXPECT_EQ(of(std::string(32, 'q')), 0x0F085E21DE38D0F0u);
  EXPECT_EQ(of(std::string(33, 'q')), 0x40149E1612102FB7u);
  EXPECT_EQ(of(std::string(63, 'q')), 0xB44B6BD84254453Au);
  EXPECT_EQ(of(std::string(64, 'q')), 0x7D312A273D0811ABu);
  EXPECT_EQ(of(std::string(100, 'q')), 0x9A081E2D827F6447u);
  EXPECT_EQ(of(std::string(1000, 'q')), 0x53C289A550B16C0Fu);
  EXPECT_EQ(of(std::string(100, 'q'), 4294967295u), 0x7F216F95B5E68274u);
}

TEST(Xxh64, SeesEveryBit) {
  std::string text(257, 'x');
  const std::uint64_t whole = of(text);
  for (char& c : text) {
    c ^= 1;
    EXPECT_NE(of(text), whole);
    c ^= 1;
  }
}

}  // namespace
}  // namespace moebox
