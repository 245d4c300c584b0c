#include "data/build/target_folder.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "data/dataset.h"

namespace moebox::data {
namespace {

namespace fs = std::filesystem;

fs::path beside(const fs::path& target, const char* ending) {
  fs::path path = target.has_filename() ? target : target.parent_path();
  path += "." + std::to_string(::getpid()) + ending;
  return path;
}

/// Only what this program made is ever removed.
bool may_be_replaced(const fs::path& target) { return fs::is_empty(target) || fs::exists(target / manifest_name); }

}  // namespace

TargetFolder::TargetFolder(const fs::path& target, bool replace)
    : target_(target.has_filename() ? target : target.parent_path()), partial_(beside(target, ".tmp")) {
  try {
    if (fs::exists(target_)) {
      if (!fs::is_directory(target_))
        throw Error(ErrorKind::invalid_argument, "is a file, expected a folder", target_.string());
      if (!may_be_replaced(target_))
        throw Error(ErrorKind::invalid_argument, "is a folder with other things than moebox data", target_.string(),
                    "give another name");
      if (!replace && !fs::is_empty(target_))
        throw Error(ErrorKind::invalid_argument, "is there already", target_.string(), "--force replaces it");
    }
    if (target_.has_parent_path()) fs::create_directories(target_.parent_path());
    fs::create_directory(partial_);
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::io, "cannot be made: " + error.code().message(), error.path1().string());
  }
}

TargetFolder::~TargetFolder() {
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
}

void TargetFolder::commit() {
  const auto fail = [&] {
    throw Error(ErrorKind::io, std::string("cannot be renamed: ") + std::strerror(errno), target_.string());
  };
  // At once: there is no moment without data, and the old ones are then what the destructor removes.
  if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) return;
  if (errno != ENOENT && errno != EINVAL && errno != ENOSYS) fail();
  const fs::path old = beside(target_, ".old");
  const bool had_old = fs::exists(target_);
  if (had_old && ::rename(target_.c_str(), old.c_str()) != 0) fail();
  if (::rename(partial_.c_str(), target_.c_str()) != 0) fail();
  partial_ = old;
}

}  // namespace moebox::data
