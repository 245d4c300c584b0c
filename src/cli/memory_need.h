// How much memory a model takes with a context.
#pragma once

#include <cstdint>
#include <string>

#include "cli/settings.h"
#include "io/checkpoint.h"
#include "models/packing.h"

namespace moebox::cli {

/// What the engine would do, computed by the engine's own code. Bytes of the cache and of the steps' buffers become
/// resident as far as they are used.
struct MemoryNeed {
  std::string unsupported;               // not empty: moebox cannot run this model, and why; the rest is 0
  std::int64_t trained_context = 0;      // tokens
  std::int64_t context_tokens = 0;       // the longest sequence
  std::uint64_t weight_bytes = 0;        // as packed, and what is read from the file where it is mapped
  std::uint64_t mapped_bytes = 0;        // of these: in the file, and resident only where they are used
  std::uint64_t draft_weight_bytes = 0;  // of these: a draft model's; it has its part of all that follows, too
  std::uint64_t kv_bytes = 0;            // of one sequence of context_tokens
  std::uint64_t kv_bytes_per_token = 0;
  std::uint64_t cache_bytes = 0;  // of the whole cache, for all sequences together
  std::int64_t cache_tokens = 0;  // that it holds
  std::uint64_t step_bytes = 0;   // of a step's buffers
  int n_mtp_layers = 0;           // for multi-token prediction, in the files
  bool mtp_loaded = false;        // the first of them
  PackFileState pack;             // the file of packed weights

  /// Weights, one whole context and the buffers.
  std::uint64_t total_bytes() const noexcept { return weight_bytes + kv_bytes + step_bytes; }
};

/// By the settings `context`, `kv_type`, `kv_memory`, `expert_cache`, `speculation` and `threads`; `draft`: the second
/// model that drafts, or nullptr. Throws Error as the engine does: invalid_argument for a context beyond the trained
/// one, resource for a cache that cannot hold it.
MemoryNeed memory_need(const Checkpoint& checkpoint, const Settings& settings, const Checkpoint* draft = nullptr);

}  // namespace moebox::cli
