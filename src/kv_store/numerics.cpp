#include "kv_store/numerics.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gnu/libc-version.h>
#include <sodium.h>
#include <unistd.h>

#include "base/error.h"

namespace moebox {
namespace {

/// The line of the first processor that names its features.
std::string processor_features() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line))
    if (line.starts_with("flags") || line.starts_with("Features")) return line;
  return "";
}

void add_program(crypto_generichash_state& state) {
  const char* const path = "/proc/self/exe";
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw Error(ErrorKind::io, std::string("cannot be opened: ") + std::strerror(errno), path);
  std::vector<unsigned char> buffer(std::size_t{1} << 20);
  ssize_t n = 0;
  while ((n = ::read(fd, buffer.data(), buffer.size())) > 0 || (n < 0 && errno == EINTR))
    if (n > 0) crypto_generichash_update(&state, buffer.data(), static_cast<unsigned long long>(n));
  ::close(fd);
  if (n < 0) throw Error(ErrorKind::io, "cannot be read", path);
}

}  // namespace

std::array<std::byte, 32> numerics_digest() {
  if (sodium_init() < 0) throw Error(ErrorKind::internal, "libsodium cannot be used");
  std::array<std::byte, 32> digest{};
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, digest.size());
  add_program(state);
  const std::string rest = std::string("\0glibc ", 7) + ::gnu_get_libc_version() + '\0' + processor_features();
  crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(rest.data()), rest.size());
  crypto_generichash_final(&state, reinterpret_cast<unsigned char*>(digest.data()), digest.size());
  return digest;
}

}  // namespace moebox
