// .npy against NumPy: golden/io/*.npy (generate_files.py).
#include "io/npy.h"

#include <cmath>
#include <cstdint>

#include <gtest/gtest.h>

#include "io_testing.h"

namespace moebox {
namespace {

using test::exact_bytes;
using test::expect_error;
using test::golden;

using Shape = std::vector<std::int64_t>;

TEST(Npy, ReadsWhatNumPyWrote) {
  const NpyArray f32 = read_npy(golden / "f32.npy");
  EXPECT_EQ(f32.shape, (Shape{2, 3}));
  EXPECT_EQ(f32.as<float>(), (std::vector<float>{1.5f, -2.25f, INFINITY, 0.0f, -0.0f, 0x1p-148f}));
  EXPECT_TRUE(std::signbit(f32.as<float>()[4]));
  const NpyArray i32 = read_npy(golden / "i32.npy");
  EXPECT_EQ(i32.shape, (Shape{3}));
  EXPECT_EQ(i32.as<std::int32_t>(), (std::vector<std::int32_t>{1, -2, INT32_MAX}));
  const NpyArray i64 = read_npy(golden / "i64.npy");
  EXPECT_EQ(i64.shape, Shape{});
  EXPECT_EQ(i64.as<std::int64_t>(), (std::vector<std::int64_t>{INT64_MIN}));
  const NpyArray empty = read_npy(golden / "empty.npy");
  EXPECT_EQ(empty.shape, (Shape{0, 4}));
  EXPECT_TRUE(empty.as<float>().empty());
  expect_error(ErrorKind::invalid_file, {"'<i4'"}, [&] { f32.as<std::int32_t>(); });
}

TEST(Npy, WritesTheSameBytesAsNumPyUpToPadding) {
  const test::TemporaryFolder folder;
  for (const char* name : {"f32.npy", "i32.npy", "i64.npy", "empty.npy"}) {
    const NpyArray array = read_npy(golden / name);
    std::visit([&](const auto& values) { write_npy(folder / name, std::span(values), array.shape); }, array.values);
    const NpyArray again = read_npy(folder / name);
    EXPECT_EQ(again.shape, array.shape);
    EXPECT_EQ(again.values, array.values);
    const std::string found = test::read_file(folder / name);
    const std::string expected = test::read_file(golden / name);
    EXPECT_EQ(found.size() % 64, expected.size() % 64);
    EXPECT_EQ(found.substr(0, 60), expected.substr(0, 60));  // the magic, the version, descr and fortran_order
  }
}

TEST(Npy, AShapeThatDoesNotFitIsRefused) {
  const test::TemporaryFolder folder;
  const std::vector<float> values(6);
  expect_error(ErrorKind::invalid_argument, {"6 elements"},
               [&] { write_npy(folder / "a.npy", std::span<const float>(values), Shape{2, 4}); });
  expect_error(ErrorKind::io, {"a.npy"},
               [&] { write_npy(folder / "no/a.npy", std::span<const float>(values), Shape{6}); });
}

TEST(Npy, OtherArraysAreRefused) {
  expect_error(ErrorKind::invalid_file, {"C order"}, [] { read_npy(golden / "fortran.npy"); });
  expect_error(ErrorKind::unsupported, {"'<f8'"}, [] { read_npy(golden / "f64.npy"); });
  expect_error(ErrorKind::not_found, {"none.npy"}, [] { read_npy(golden / "none.npy"); });
}

std::string npy(const std::string& header, std::size_t n_data_bytes) {
  const auto length = static_cast<std::uint16_t>(header.size());
  return "\x93NUMPY\x01" + std::string(1, '\0') + std::string(reinterpret_cast<const char*>(&length), 2) + header +
         std::string(n_data_bytes, '\0');
}

TEST(Npy, HeadersThatLieAreRefused) {
  const auto expect_invalid = [](const std::string& header, std::size_t n_data_bytes) {
    EXPECT_THROW(parse_npy(exact_bytes(npy(header, n_data_bytes)), "bad.npy"), Error) << header;
  };
  EXPECT_NO_THROW(parse_npy(exact_bytes(npy("{'descr':'<f4','fortran_order':False,'shape':(2,)}", 8)), "good.npy"));
  expect_invalid("{'descr':'<f4','fortran_order':False,'shape':(2,)}", 7);
  expect_invalid("{'descr':'<f4','fortran_order':False,'shape':(2,)}", 9);
  expect_invalid("{'descr':'<f4','fortran_order':False,'shape':(4611686018427387904,)}", 0);
  expect_invalid("{'descr':'<f4','fortran_order':False,'shape':(4294967296,4294967296)}", 0);
  expect_invalid("{'descr':'<f4','fortran_order':False,'shape':(99999999999999999999,)}", 0);
  expect_invalid("{'descr':'<f4','fortran_order':False,'shape':(-2,)}", 8);
  expect_invalid("{'descr':'<f4','fortran_order':False,'shape':(2}", 8);
  expect_invalid("{'descr':'<f4','fortran_order':False}", 4);
  expect_invalid("{'descr':'<f4', 'shape':(2,), 'x':1}", 8);
  expect_invalid("{'descr", 8);
  expect_invalid("", 8);
  expect_invalid("{'descr':'<f4','shape':(" + std::string(66, '1') + ",)}", 8);
}

TEST(Npy, AFileCutAtAnyByteIsAnError) {
  const std::string whole = test::read_file(golden / "i32.npy");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_THROW(parse_npy(exact_bytes(whole.substr(0, n)), "cut"), Error) << n;
  }
}

}  // namespace
}  // namespace moebox
