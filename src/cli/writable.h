// Whether a file that will be written after minutes of computing can be written at all.
#pragma once

#include <filesystem>

namespace moebox::cli {

/// Throws Error(io) when `path` cannot be written. Leaves no file behind and changes none. Pipes and devices are left
/// alone: opening one is heard at its other end.
void check_writable(const std::filesystem::path& path);

}  // namespace moebox::cli
