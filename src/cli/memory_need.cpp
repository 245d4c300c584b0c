#include "cli/memory_need.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"
#include "cli/model_source.h"
#include "models/model.h"

namespace moebox::cli {
namespace {

constexpr std::int64_t default_context_limit = 32768;  // EngineOptions::context_tokens

}  // namespace

MemoryNeed memory_need(const Checkpoint& checkpoint, const Settings& settings) {
  MemoryNeed need;
  ModelInfo info;
  try {
    info = describe_model(checkpoint, model_options(settings).model);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    need.unsupported = error.message();
    return need;
  }
  need.trained_context = info.max_context;
  need.context_tokens = settings.integer("context");
  if (need.context_tokens > need.trained_context) {
    throw Error(
        ErrorKind::invalid_argument,
        fmt::format("expected at most the model's context of {}, found {}", need.trained_context, need.context_tokens),
        "--context");
  }
  if (need.context_tokens == 0) need.context_tokens = std::min(need.trained_context, default_context_limit);
  // No format but FP8, which becomes BF16, grows when it is packed; padding to whole panels is below a percent.
  for (const TensorView& tensor : checkpoint.tensors())
    need.weight_bytes += tensor.data.size() * (tensor.dtype == DType::f8_e4m3 ? 2 : 1);
  const auto blocks = static_cast<std::uint64_t>((need.context_tokens + kv_block_tokens - 1) / kv_block_tokens);
  need.kv_bytes = blocks * info.kv_block_bytes();
  need.kv_bytes_per_token = info.kv_block_bytes() / kv_block_tokens;
  return need;
}

}  // namespace moebox::cli
