// What an engine does with its options, and how much memory its steps take.
#include <algorithm>
#include <string>

#include "base/error.h"
#include "runtime/block_pool.h"
#include "runtime/engine.h"
#include "runtime/model_drafter.h"
#include "runtime/sampler.h"

namespace moebox {
namespace {

constexpr int default_context_limit = 32768;
constexpr int default_cache_tokens = 65536;

int in_range(int value, int low, int high, const char* field) {
  if (value < low || value > high)
    throw Error(ErrorKind::invalid_argument,
                "expected " + std::to_string(low) + " to " + std::to_string(high) + ", found " + std::to_string(value),
                field);
  return value;
}

}  // namespace

std::size_t EngineOptions::block_bytes(const ModelInfo& model, const ModelInfo* draft_model) noexcept {
  return model.kv_block_bytes() + (draft_model != nullptr ? draft_model->kv_block_bytes() : 0);
}

EngineOptions EngineOptions::resolved(const ModelInfo& model, int n_threads, const ModelInfo* draft_model) const {
  EngineOptions options = *this;
  options.n_threads = n_threads;
  in_range(options.max_sequences, 1, 65536, "max_sequences");
  if (options.max_batch_tokens == 0) options.max_batch_tokens = std::max(model.batch_tokens, options.max_sequences);
  in_range(options.max_batch_tokens, options.max_sequences, 1 << 16, "max_batch_tokens (at least max_sequences)");
  in_range(options.max_queued, 0, 1 << 24, "max_queued");
  if (options.decode_slowdown != 0 && !(options.decode_slowdown >= 1.1 && options.decode_slowdown <= 1000))
    throw Error(ErrorKind::invalid_argument,
                "expected 0 or a number from 1.1 to 1000, found " + std::to_string(options.decode_slowdown),
                "decode_slowdown");
  in_range(options.draft_tokens, 1, max_draft_tokens, "draft_tokens");
  if (options.speculation == Speculation::mtp && model.n_draft_layers == 0)
    throw Error(ErrorKind::invalid_argument,
                "drafts by multi-token prediction need the model's layer for it, which has not been loaded",
                "speculation", "load the model with its draft layer");
  if ((options.speculation == Speculation::draft) != (draft_model != nullptr))
    throw Error(ErrorKind::invalid_argument,
                draft_model != nullptr ? "there is a draft model, and drafts come from elsewhere"
                                       : "drafts by a second model need that model, which has not been loaded",
                "speculation", "give both, or none of them");
  in_range(options.context_tokens, 0, model.max_context, "context_tokens");
  const std::size_t block_bytes = EngineOptions::block_bytes(model, draft_model);
  const bool asked = options.context_tokens != 0;
  const int context = asked ? options.context_tokens : std::min(model.max_context, default_context_limit);
  if (options.kv_bytes == 0) {
    const auto wanted =
        static_cast<std::size_t>(BlockPool::needed(std::max(context, default_cache_tokens))) * block_bytes;
    const auto needed = static_cast<std::size_t>(BlockPool::needed(context)) * block_bytes;
    options.kv_bytes = std::clamp(available_memory_bytes() / 4, std::min(asked ? needed : block_bytes, wanted), wanted);
  }
  const auto n_blocks = static_cast<int>(std::min<std::size_t>(options.kv_bytes / block_bytes, 1 << 26));
  if (n_blocks < 1 || (asked && n_blocks < BlockPool::needed(context)))
    throw Error(ErrorKind::resource,
                "a context of " + std::to_string(context) + " tokens needs " +
                    std::to_string((static_cast<std::size_t>(BlockPool::needed(context)) * block_bytes) >> 20) +
                    " MiB of KV cache, found " + std::to_string(options.kv_bytes >> 20) + " MiB",
                "kv_bytes", "shorten the context or enlarge the cache");
  options.context_tokens = std::min<int>(
      context, static_cast<int>(std::min<std::int64_t>(std::int64_t{n_blocks} * kv_block_tokens, INT32_MAX)));
  options.kv_bytes = static_cast<std::size_t>(n_blocks) * block_bytes;
  return options;
}

std::size_t EngineOptions::step_bytes(const Model& model, const Model* draft_model) const {
  const auto vocab = static_cast<std::size_t>(model.info().vocab_size);
  const auto workspace = model.make_workspace(max_batch_tokens, max_logit_rows(), context_tokens, n_threads);
  return workspace->size() + static_cast<std::size_t>(max_logit_rows()) * vocab * sizeof(float) +
         static_cast<std::size_t>(n_threads) * SamplerScratch::bytes(model.info().vocab_size) +
         (draft_model != nullptr ? ModelDrafter::step_bytes(*draft_model, *this) : 0);
}

}  // namespace moebox
