#include "io/mapped_file.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
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

TEST(MappedFile, ReadsHereAndThereDoNotReadWhatLiesAround) {
  constexpr std::size_t n_bytes = std::size_t{32} << 20;
  const test::TemporaryFolder folder;
  test::write_file(folder / "f", std::string(n_bytes, '\x01'));
  const int descriptor = ::open((folder / "f").c_str(), O_RDONLY);
  ASSERT_GE(descriptor, 0);
  ::fsync(descriptor);
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  const MappedFile file(descriptor, folder / "f");
  ::close(descriptor);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto pages_in_memory = [&] {
    std::vector<unsigned char> pages(n_bytes / page);
    EXPECT_EQ(::mincore(const_cast<std::byte*>(file.bytes().data()), n_bytes, pages.data()), 0);
    return std::count_if(pages.begin(), pages.end(), [](unsigned char in) { return (in & 1) != 0; });
  };
  const auto before = pages_in_memory();  // not 0 on a file system that lies in memory
  file.expect_random_reads(file.bytes());
  for (const std::size_t row : {100000u, 9000000u, 20000000u}) EXPECT_EQ(sum(file.bytes().subspan(row, 1000)), 1000);
  EXPECT_LE(pages_in_memory(), before + 6);
  MappedFile::prefetch(file.bytes().subspan(5000000, 300000));  // it may be read, or not: it can be
  EXPECT_EQ(sum(file.bytes()), static_cast<long>(n_bytes));
  MappedFile::prefetch({});
}

}  // namespace
}  // namespace moebox
