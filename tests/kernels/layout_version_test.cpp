// Packed weights are kept in files: whoever changes a byte of the packed layout raises its version.
#include <gtest/gtest.h>

#include "base/xxh64.h"
#include "kernel_cases.h"
#include "kernels/layout.h"

namespace moebox::test {
namespace {

struct PackedHash {
  DType dtype;
  std::uint64_t hash;
};

// When this fails because a layout was changed: raise layout::version, then write both anew.
constexpr std::uint32_t version_of_these = 2;
constexpr PackedHash hashes[] = {
    {DType::f32, 0x9c95e1cc784f1168},   {DType::f16, 0x95471164a00368c0},  {DType::bf16, 0x95c3a1d25e72385c},
    {DType::q8_0, 0x5bab35531f549850},  {DType::q4_0, 0x681f7545c5263a49}, {DType::q4_1, 0x5e902864837d0491},
    {DType::q5_0, 0xad51f697fbc31b7b},  {DType::q5_1, 0xbabf15f87e5f60fd}, {DType::iq4_nl, 0x17fac823c813e831},
    {DType::mxfp4, 0x17ed375878919c81}, {DType::q2_k, 0xe4e0e26f02d7c985}, {DType::q3_k, 0x088d6e3edbbfd2c4},
    {DType::q4_k, 0x949f265062ec8fab},  {DType::q5_k, 0x8aa921d5a10a3090}, {DType::q6_k, 0x286a0a8498465142},
};

std::uint64_t packed_hash(DType dtype) {
  constexpr int n_rows = 72, n_columns = 512;  // the last panel is not full
  std::vector<std::byte> stored(row_bytes(dtype, n_columns) * n_rows);
  Random random(static_cast<std::uint64_t>(dtype));
  for (std::byte& byte : stored) byte = static_cast<std::byte>(random.next());
  TensorView view;
  view.dtype = dtype;
  view.rank = 2;
  view.shape = {n_rows, n_columns};
  view.data = stored;
  const AlignedBytes packed(packed_panel_bytes(dtype, n_columns) * 3);
  pack_panels(view, 0, 3, packed.data());
  return xxh64({packed.data(), packed.size()});
}

TEST(LayoutVersion, StandsForThePackedBytes) {
  EXPECT_EQ(layout::version, version_of_these);
  for (const PackedHash& expected : hashes) {
    const std::uint64_t found = packed_hash(expected.dtype);
    char text[32];
    std::snprintf(text, sizeof text, "0x%016llx", static_cast<unsigned long long>(found));
    EXPECT_EQ(found, expected.hash) << info(expected.dtype).name << " packs to other bytes, of hash " << text
                                    << ": raise layout::version in kernels/layout.h, then change this table";
  }
}

}  // namespace
}  // namespace moebox::test
