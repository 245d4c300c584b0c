// How much memory a model takes with a context, before it is loaded.
#pragma once

#include <cstdint>

#include "cli/settings.h"
#include "io/checkpoint.h"

namespace moebox::cli {

struct MemoryNeed {
  std::int64_t trained_context = 0;  // tokens
  std::int64_t context_tokens = 0;   // what the settings ask for, else as the engine would choose
  std::uint64_t weight_bytes = 0;
  std::uint64_t kv_bytes = 0;
  std::uint64_t kv_bytes_per_token = 0;
};

/// By the settings `context` and `kv_type`. Throws Error(unsupported) for an architecture that moebox does not know.
MemoryNeed memory_need(const Checkpoint& checkpoint, const Settings& settings);

}  // namespace moebox::cli
