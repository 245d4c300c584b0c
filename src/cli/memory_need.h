// How much memory a model takes with a context.
#pragma once

#include <cstdint>
#include <string>

#include "cli/settings.h"
#include "io/checkpoint.h"

namespace moebox::cli {

struct MemoryNeed {
  std::string unsupported;           // not empty: moebox cannot run this model, and why; the rest is 0
  std::int64_t trained_context = 0;  // tokens
  std::int64_t context_tokens = 0;   // the setting `context`, or what was trained up to the engine's own limit
  std::uint64_t weight_bytes = 0;
  std::uint64_t kv_bytes = 0;
  std::uint64_t kv_bytes_per_token = 0;
};

/// By the settings `context` and `kv_type`. Throws Error(invalid_argument) for a context beyond the trained one.
MemoryNeed memory_need(const Checkpoint& checkpoint, const Settings& settings);

}  // namespace moebox::cli
