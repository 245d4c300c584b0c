// A folder that appears whole or not at all.
#pragma once

#include <filesystem>

namespace moebox::data {

/// Files are written into path(), beside `target`; commit() gives that folder the target's name, once. The destructor
/// removes what is not needed: what was written, or what it replaced. A process that is killed leaves
/// "<target>.<process>.tmp" behind.
class TargetFolder {
 public:
  /// Throws Error(invalid_argument) when `target` is there and not to be replaced, or is not a data set that may be;
  /// Error(io).
  TargetFolder(const std::filesystem::path& target, bool replace);
  ~TargetFolder();
  TargetFolder(const TargetFolder&) = delete;
  TargetFolder& operator=(const TargetFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return partial_; }
  void commit();

 private:
  std::filesystem::path target_, partial_;
};

}  // namespace moebox::data
