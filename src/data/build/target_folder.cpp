#include "data/build/target_folder.h"

#include <string>

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
  if (!committed_) fs::remove_all(partial_, ignored);
}

void TargetFolder::commit() {
  try {
    const fs::path old = beside(target_, ".old");
    const bool had_old = fs::exists(target_);
    if (had_old) fs::rename(target_, old);
    fs::rename(partial_, target_);
    committed_ = true;
    if (had_old) fs::remove_all(old);
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorKind::io, "cannot be renamed: " + error.code().message(), error.path1().string());
  }
}

}  // namespace moebox::data
