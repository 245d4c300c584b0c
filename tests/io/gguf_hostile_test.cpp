// GGUF files that lie. Each case is a hole that a reader of this format really had, or a sibling of one.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "io/gguf.h"
#include "io_testing.h"

namespace moebox {
namespace {

using test::exact_bytes;
using test::expect_error;
using test::GgufBuilder;

constexpr std::uint32_t u8 = 0, u32 = 4, f32 = 6, boolean = 7, string = 8, array = 9, u64 = 10;
constexpr std::uint32_t type_f32 = 0, type_q8_0 = 8, type_q4_k = 12;

/// Every message starts with the file's name.
void expect_invalid(const GgufBuilder& builder, std::initializer_list<std::string_view> parts) {
  const auto bytes = exact_bytes(builder.bytes());
  expect_error(ErrorKind::invalid_file, {"bad.gguf: "}, [&] { parse_gguf(bytes, "bad.gguf"); });
  expect_error(ErrorKind::invalid_file, parts, [&] { parse_gguf(bytes, "bad.gguf"); });
}

TEST(HostileGguf, CountsOfEntriesBeyondTheFile) {
  expect_invalid(GgufBuilder(0, UINT64_MAX), {"number of metadata entries"});
  expect_invalid(GgufBuilder(0, UINT64_MAX / 48 + 1),
                 {"number of metadata entries"});  // times a struct's size: small again
  expect_invalid(GgufBuilder(0, 1), {"metadata entries is 1"});
  expect_invalid(GgufBuilder(UINT64_MAX, 0), {"number of tensors"});
  expect_invalid(GgufBuilder(100'001, 0), {"at most 100000, found 100001"});
  expect_invalid(GgufBuilder(1, 0), {"number of tensors is 1"});
}

TEST(HostileGguf, StringsLongerThanTheFile) {
  const auto with_key_length = [](std::uint64_t n) { return GgufBuilder(0, 1).number(n).raw("abcdefghijklmnop"); };
  expect_invalid(with_key_length(UINT64_MAX), {"metadata key"});
  expect_invalid(with_key_length(17), {"metadata key", "17 bytes", "16 are left"});
  expect_invalid(with_key_length(65'536), {"metadata key", "65536"});
  expect_invalid(with_key_length(0), {"not empty"});
  expect_invalid(GgufBuilder(0, 1).key("k", string).number(UINT64_MAX), {"metadata 'k'"});
  expect_invalid(GgufBuilder(0, 1).key("k", string).number(std::uint64_t{5}).raw("four"), {"metadata 'k'", "needs 5"});
  expect_invalid(GgufBuilder(1).number(UINT64_MAX).raw(std::string(64, 'x')), {"tensor's name"});
}

TEST(HostileGguf, ArraysLongerThanTheFile) {
  // count * element size overflows to something small for every element size.
  for (const std::uint32_t type : {u8, u32, f32, string, u64}) {
    for (const std::uint64_t count :
         {UINT64_MAX, UINT64_MAX / 8 + 1, UINT64_MAX / 4 + 1, (std::uint64_t{1} << 61) + 1}) {
      expect_invalid(GgufBuilder(0, 1).array("k", type, count).raw(std::string(64, '\0')), {"metadata 'k'", "length"});
    }
  }
  expect_invalid(GgufBuilder(0, 1).array("k", u32, 3).raw(std::string(8, '\0')), {"metadata 'k'", "length"});
  expect_invalid(GgufBuilder(0, 1).array("k", string, 2).string("abcdefgh").raw("1234567"), {"metadata 'k'"});
}

TEST(HostileGguf, ManyLongArraysShareOneBudget) {
  // Each is honest about its length, but widened to 8 bytes an element together they would take 264 MiB and more.
  constexpr std::uint64_t count = std::uint64_t{1} << 24;
  GgufBuilder builder(0, 3);
  for (const char* key : {"a", "b", "c"}) builder.array(key, u8, count).raw(std::string(count, '\0'));
  expect_invalid(builder, {"metadata 'c'", "at most 0"});
}

TEST(HostileGguf, ArraysOfArrays) {
  GgufBuilder builder(0, 1);
  builder.key("deep", array);
  for (int depth = 0; depth < 100'000; ++depth) builder.number(array).number(std::uint64_t{1});
  expect_error(ErrorKind::unsupported, {"metadata 'deep'", "array of arrays"},
               [&] { parse_gguf(exact_bytes(builder.bytes()), "bad.gguf"); });
}

TEST(HostileGguf, UnknownValueTypesAndBooleans) {
  expect_invalid(GgufBuilder(0, 1).key("k", 13).number(std::uint64_t{0}), {"no value type 13"});
  expect_invalid(GgufBuilder(0, 1).key("k", UINT32_MAX).number(std::uint64_t{0}), {"no value type 4294967295"});
  expect_invalid(GgufBuilder(0, 1).array("k", 13, 0), {"no element type 13"});
  expect_invalid(GgufBuilder(0, 1).key("k", boolean).number(std::uint8_t{2}), {"0 or 1, found 2"});
  expect_invalid(GgufBuilder(0, 1).array("k", boolean, 1).number(std::uint8_t{255}), {"0 or 1, found 255"});
}

TEST(HostileGguf, IntegersBeyond63BitsInAnArray) {
  expect_invalid(GgufBuilder(0, 1).array("k", u64, 1).number(UINT64_MAX), {"metadata 'k'", "out of range"});
}

TEST(HostileGguf, KeysAndNamesThatAreNotUtf8OrOccurTwice) {
  expect_invalid(GgufBuilder(0, 1).key("k\xff", u8).number(std::uint8_t{1}), {"UTF-8", "'k\\xff'"});
  expect_invalid(GgufBuilder(0, 2).key("k", u8).number(std::uint8_t{1}).key("k", u8).number(std::uint8_t{2}),
                 {"metadata 'k'", "twice"});
  expect_invalid(GgufBuilder(1).tensor("\xc0\xaf", {1}, type_f32, 0).data(4), {"UTF-8"});
  expect_invalid(GgufBuilder(1).tensor("", {1}, type_f32, 0).data(4), {"not empty"});
  expect_invalid(GgufBuilder(2).tensor("t", {1}, type_f32, 0).tensor("t", {1}, type_f32, 32).data(36),
                 {"tensor 't'", "two tensors"});
}

TEST(HostileGguf, DimensionsThatAreZeroNegativeOrTooMany) {
  expect_invalid(GgufBuilder(1).tensor("t", {1, 0}, type_f32, 0).data(64), {"tensor 't'", "(0, 1)", "at least 1"});
  expect_invalid(GgufBuilder(1).tensor("t", {0}, type_f32, 0).data(64), {"at least 1"});
  expect_invalid(GgufBuilder(1).tensor("t", {UINT64_MAX}, type_f32, 0).data(64), {"tensor 't'", "out of range"});
  expect_invalid(GgufBuilder(1).tensor("t", {1, 1, 1, 1, 1}, type_f32, 0).data(64), {"4 dimensions", "found 5"});
  expect_invalid(GgufBuilder(1).string("t").number(UINT32_MAX).raw(std::string(64, '\1')), {"found 4294967295"});
}

TEST(HostileGguf, ProductsOfDimensionsThatOverflow) {
  constexpr std::uint64_t b32 = std::uint64_t{1} << 32, b62 = std::uint64_t{1} << 62;
  expect_invalid(GgufBuilder(1).tensor("t", {b32, b32}, type_f32, 0).data(64), {"tensor 't'", "overflows"});
  expect_invalid(GgufBuilder(1).tensor("t", {b62, 4}, type_f32, 0).data(64), {"overflows"});
  expect_invalid(GgufBuilder(1).tensor("t", {b32, b32 / 2, 2, 1}, type_f32, 0).data(64), {"overflows"});
  // The elements fit in 63 bits, their bytes do not.
  expect_invalid(GgufBuilder(1).tensor("t", {b62}, type_f32, 0).data(64), {"overflows"});
  expect_invalid(GgufBuilder(1).tensor("t", {b62 + b62 - 32}, type_q8_0, 0).data(64), {"tensor 't'"});
  expect_invalid(GgufBuilder(1).tensor("t", {b62 / 2}, type_f32, 0).data(64),
                 {"tensor 't'"});  // 2^63 bytes: not a ptrdiff_t
}

TEST(HostileGguf, OffsetsThatOverflowOrLeaveTheFile) {
  expect_invalid(GgufBuilder(1).tensor("t", {16}, type_f32, UINT64_MAX - 31).data(64), {"tensor 't'", "overflows"});
  expect_invalid(GgufBuilder(1).tensor("t", {16}, type_f32, UINT64_MAX - 63).data(64), {"tensor 't'", "overflows"});
  expect_invalid(GgufBuilder(1).tensor("t", {16}, type_f32, UINT64_MAX - 127).data(64),
                 {"tensor 't'", "inside the 64 bytes"});
  expect_invalid(GgufBuilder(1).tensor("t", {17}, type_f32, 0).data(64), {"0 .. 68", "inside the 64 bytes"});
  expect_invalid(GgufBuilder(1).tensor("t", {16}, type_f32, 32).data(64), {"32 .. 96"});
  expect_invalid(GgufBuilder(1).tensor("t", {16}, type_f32, 0).data(63), {"inside the 63 bytes"});
  expect_invalid(GgufBuilder(1).tensor("t", {16}, type_f32, 4).data(128), {"multiple of 32, found 4"});
}

TEST(HostileGguf, TensorsThatOverlap) {
  expect_invalid(GgufBuilder(2).tensor("a", {16}, type_f32, 0).tensor("b", {1}, type_f32, 32).data(64),
                 {"overlaps", "'a'", "'b'"});
  expect_invalid(GgufBuilder(2).tensor("a", {1}, type_f32, 0).tensor("b", {1}, type_f32, 0).data(64), {"overlaps"});
  expect_invalid(GgufBuilder(3)
                     .tensor("c", {8}, type_f32, 64)
                     .tensor("a", {8}, type_f32, 0)
                     .tensor("b", {16}, type_f32, 32)
                     .data(128),
                 {"overlaps"});
}

TEST(HostileGguf, AlignmentsThatAreNotSane) {
  const auto with_alignment = [](std::uint32_t alignment) {
    return GgufBuilder(1, 1).key("general.alignment", u32).number(alignment).tensor("t", {1}, type_f32, 0).data(64);
  };
  for (const std::uint32_t alignment : {0u, 3u, 33u, 131'072u, 0x80000000u, 0xffffffffu}) {
    expect_invalid(with_alignment(alignment), {"general.alignment", "power of two", std::to_string(alignment)});
  }
  expect_invalid(GgufBuilder(1, 1).key("general.alignment", f32).number(32.0f).tensor("t", {1}, type_f32, 0).data(64),
                 {"general.alignment", "found a number"});
  expect_invalid(
      GgufBuilder(1, 1).array("general.alignment", u32, 1).number(32u).tensor("t", {1}, type_f32, 0).data(64),
      {"found an array of integers"});
  // Allowed, but the padding ends behind the file.
  GgufBuilder far(1, 1);
  far.key("general.alignment", u32).number(65'536u).tensor("t", {1}, type_f32, 0).data(64);
  expect_invalid(far, {"must start at byte 65536"});
}

TEST(HostileGguf, RowsThatAreNotWholeBlocks) {
  expect_invalid(GgufBuilder(1).tensor("t", {576}, type_q4_k, 0).data(512), {"Q4_K", "multiple of 256", "(576)"});
  expect_invalid(GgufBuilder(1).tensor("t", {16, 2}, type_q8_0, 0).data(64), {"Q8_0", "multiple of 32", "(2, 16)"});
}

TEST(HostileGguf, UnknownTensorTypesAreNamed) {
  for (const std::uint32_t type : {4u, 16u, 36u, 40u, 256u, 0xffffffffu}) {
    const auto bytes = exact_bytes(GgufBuilder(1).tensor("blk.0.ffn_up.weight", {256}, type, 0).data(512).bytes());
    expect_error(ErrorKind::unsupported, {"bad.gguf", "'blk.0.ffn_up.weight'", "type " + std::to_string(type)},
                 [&] { parse_gguf(bytes, "bad.gguf"); });
  }
}

TEST(HostileGguf, AFileCutAtAnyByteIsAnErrorOrLacksOnlyPadding) {
  const std::string whole = test::read_file(test::golden / "small.gguf");
  const auto whole_bytes = exact_bytes(whole);
  const TensorView last = parse_gguf(whole_bytes, "whole").tensors.back();
  const auto end_of_data = static_cast<std::size_t>(last.data.data() + last.data.size() - whole_bytes.data());
  for (std::size_t n = 0; n < whole.size(); ++n) {
    const auto bytes = exact_bytes(whole.substr(0, n));
    if (n >= end_of_data) {
      EXPECT_EQ(parse_gguf(bytes, "cut").tensors.size(), 4u) << n;
    } else {
      EXPECT_THROW(parse_gguf(bytes, "cut"), Error) << n;
    }
  }
}

TEST(HostileGguf, AFileWithAnyByteChangedIsReadOrRefused) {
  const std::string whole = test::read_file(test::golden / "small.gguf");
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const unsigned char mask : {0x01, 0x80, 0xff}) {
      auto bytes = exact_bytes(whole);
      bytes[i] ^= static_cast<std::byte>(mask);
      try {
        for (const TensorView& tensor : parse_gguf(bytes, "changed").tensors) {
          ASSERT_GE(tensor.data.data(), bytes.data());
          ASSERT_LE(tensor.data.data() + tensor.data.size(), bytes.data() + bytes.size());
        }
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace moebox
