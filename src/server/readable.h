// Files that the options name (keys, certificates), looked at before a library opens them and says less.
#pragma once

#include <filesystem>
#include <string>

namespace moebox {

/// Throws Error, not_found or io, with `what` and the system's reason, unless `path` is something that can be read.
void require_readable(const std::filesystem::path& path, const std::string& what);

}  // namespace moebox
