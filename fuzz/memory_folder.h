// A folder for the files of one fuzz target.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <unistd.h>

namespace moebox {

/// In memory where there is a file system of that kind; removed at exit.
class MemoryFolder {
 public:
  MemoryFolder() {
    std::string pattern =
        std::filesystem::is_directory("/dev/shm") ? "/dev/shm/moebox-fuzz-XXXXXX" : "/tmp/moebox-fuzz-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~MemoryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  MemoryFolder(const MemoryFolder&) = delete;

  std::filesystem::path operator/(const char* name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace moebox
