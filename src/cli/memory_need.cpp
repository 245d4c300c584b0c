#include "cli/memory_need.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"
#include "cli/model_source.h"
#include "language_model/draft_model.h"
#include "models/model.h"

namespace moebox::cli {

MemoryNeed memory_need(const Checkpoint& checkpoint, const Settings& settings, const Checkpoint* draft) {
  MemoryNeed need;
  LanguageModelOptions options = model_options(settings);
  std::unique_ptr<const Model> model, draft_model;
  try {
    model = plan_model(checkpoint, options.model);
    if (draft != nullptr) {
      draft_with(options, draft->path());
      draft_model = plan_model(*draft, draft_model_options(options.model));
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    need.unsupported = error.message();
    return need;
  }
  const ModelInfo& info = model->info();
  need.trained_context = info.max_context;
  need.n_mtp_layers = info.n_mtp_layers;
  need.mtp_loaded = info.n_draft_layers > 0;
  if (options.engine.context_tokens > info.max_context) {
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected at most the model's context of {}, found {}", info.max_context,
                            options.engine.context_tokens),
                "--context");
  }
  const int n_threads = options.engine.n_threads > 0 ? options.engine.n_threads : usable_processors();
  const ModelInfo* draft_info = draft_model ? &draft_model->info() : nullptr;
  const EngineOptions engine = options.engine.resolved(info, n_threads, draft_info);
  const std::size_t block_bytes = EngineOptions::block_bytes(info, draft_info);
  const auto context = static_cast<std::uint64_t>(engine.context_tokens);
  need.context_tokens = engine.context_tokens;
  need.weight_bytes = info.weight_bytes + info.mapped_bytes;
  need.mapped_bytes = info.mapped_bytes;
  if (draft_info != nullptr) {
    need.draft_weight_bytes = draft_info->weight_bytes + draft_info->mapped_bytes;
    need.weight_bytes += need.draft_weight_bytes;
    need.mapped_bytes += draft_info->mapped_bytes;
  }
  need.kv_bytes_per_token = block_bytes / kv_block_tokens;
  need.kv_bytes = (context + kv_block_tokens - 1) / kv_block_tokens * block_bytes;
  need.cache_bytes = engine.kv_bytes;
  need.cache_tokens = static_cast<std::int64_t>(engine.kv_bytes / block_bytes) * kv_block_tokens;
  need.step_bytes = engine.step_bytes(*model, draft_model.get());
  need.pack = pack_file_state(checkpoint, options.model);
  return need;
}

}  // namespace moebox::cli
