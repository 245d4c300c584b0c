#include "server/readable.h"

#include <cerrno>
#include <cstring>

#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox {

void require_readable(const std::filesystem::path& path, const std::string& what) {
  struct stat status{};
  int problem = 0;
  if (::stat(path.c_str(), &status) != 0 || ::access(path.c_str(), R_OK) != 0) {
    problem = errno;
  } else if (S_ISDIR(status.st_mode)) {
    problem = EISDIR;
  }
  if (problem == 0) return;
  throw Error(problem == ENOENT || problem == ENOTDIR ? ErrorKind::not_found : ErrorKind::io,
              what + " cannot be read: " + std::strerror(problem), path.string());
}

}  // namespace moebox
