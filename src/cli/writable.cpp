#include "cli/writable.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox::cli {

void check_writable(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  const bool exists = std::filesystem::exists(status);
  if (exists && !std::filesystem::is_regular_file(status) && !std::filesystem::is_directory(status)) return;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0)
    throw Error(ErrorKind::io, fmt::format("cannot be written: {}", std::strerror(errno)), path.string(),
                "check the folder and its permissions");
  ::close(fd);
  if (!exists) ::unlink(path.c_str());
}

}  // namespace moebox::cli
