// Locks between processes and threads.
#include "base/file_lock.h"

#include <atomic>
#include <filesystem>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

namespace moebox {
namespace {

namespace fs = std::filesystem;

class FileLockTest : public ::testing::Test {
 protected:
  FileLockTest() : folder_(fs::temp_directory_path() / ("moebox_lock_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~FileLockTest() override { fs::remove_all(folder_); }

  const fs::path folder_;
};

TEST_F(FileLockTest, ExcludesAndLetsGo) {
  {
    const FileLock lock = FileLock::acquire(folder_ / "l");
    EXPECT_FALSE(FileLock::try_acquire(folder_ / "l"));
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  EXPECT_TRUE(FileLock::try_acquire(folder_ / "l"));
}

TEST_F(FileLockTest, OneAtATimeAmongThreads) {
  // A lock between processes: the thread sanitizer does not see that it also orders threads.
  std::atomic<int> inside{0}, entries{0};
  std::atomic<bool> overlapped{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) {
        const FileLock lock = FileLock::acquire(folder_ / "l");
        if (++inside != 1) overlapped = true;
        ++entries;
        --inside;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(overlapped);
  EXPECT_EQ(entries, 12);
}

TEST_F(FileLockTest, WaitingMayGiveUp) {
  const FileLock lock = FileLock::acquire(folder_ / "l");
  EXPECT_THROW(FileLock::acquire(folder_ / "l", [] { throw std::runtime_error("enough"); }), std::runtime_error);
}

}  // namespace
}  // namespace moebox
