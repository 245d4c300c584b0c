#include "io/mapped_file.h"

#include <cstdio>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "io_testing.h"

namespace moebox {
namespace {

/// Resident bytes of this process.
long resident_bytes() {
  long total = 0, resident = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  EXPECT_NE(file, nullptr);
  EXPECT_EQ(std::fscanf(file, "%ld %ld", &total, &resident), 2);
  std::fclose(file);
  return resident * sysconf(_SC_PAGESIZE);
}

long sum(std::span<const std::byte> bytes) {
  long total = 0;
  for (const std::byte byte : bytes) total += static_cast<long>(byte);
  return total;
}

TEST(MappedFile, ShowsTheFileAndMoves) {
  const test::TemporaryFolder folder;
  test::write_file(folder / "f", "content");
  MappedFile first(folder / "f");
  MappedFile second(std::move(first));
  EXPECT_EQ(second.bytes().size(), 7u);
  EXPECT_EQ(static_cast<char>(second.bytes()[6]), 't');
  EXPECT_TRUE(first.bytes().empty());
  test::write_file(folder / "empty", "");
  second = MappedFile(folder / "empty");
  EXPECT_TRUE(second.bytes().empty());
}

TEST(MappedFile, ReleasedPagesLeaveMemoryAndStayReadable) {
  constexpr std::size_t n_bytes = std::size_t{32} << 20;
  const test::TemporaryFolder folder;
  test::write_file(folder / "f", std::string(n_bytes, '\x01'));
  const MappedFile file(folder / "f");
  ASSERT_EQ(sum(file.bytes()), static_cast<long>(n_bytes));
  const long before = resident_bytes();
  file.release(file.bytes().subspan(1, n_bytes - 2));  // all but the first and the last page
  EXPECT_LT(resident_bytes(), before - static_cast<long>(n_bytes) / 2);
  EXPECT_EQ(sum(file.bytes()), static_cast<long>(n_bytes));
  file.release(file.bytes().subspan(100, 200));  // no whole page
  file.release({});
}

}  // namespace
}  // namespace moebox
