#include "train/pass.h"

#include <string>

#include "base/error.h"

namespace moebox::train {
namespace {

[[noreturn]] void refuse(const std::string& expected, const std::string& found, const char* where) {
  throw Error(ErrorKind::invalid_argument, "expected " + expected + ", found " + found, where);
}

void check(const Batch& batch, const ModelSizes& sizes) {
  if (batch.tokens.dim() != 2 || batch.tokens.scalar_type() != at::kLong || batch.tokens.numel() == 0)
    refuse("tokens (batch, length) as int64", std::to_string(batch.tokens.dim()) + " dimensions", "batch");
  if (batch.length() > sizes.max_context)
    refuse("at most " + std::to_string(sizes.max_context) + " tokens a sequence, the model's context",
           std::to_string(batch.length()), "batch");
  if (batch.documents.defined() && batch.documents.sizes() != batch.tokens.sizes())
    refuse("a document's number for each token", "another shape", "batch");
  const auto lowest = batch.tokens.min().item<std::int64_t>(), highest = batch.tokens.max().item<std::int64_t>();
  if (lowest < 0 || highest >= sizes.vocab_size)
    refuse("tokens of a vocabulary of " + std::to_string(sizes.vocab_size),
           std::to_string(lowest < 0 ? lowest : highest), "batch");
}

}  // namespace

Pass::Pass(const Batch& batch, const ForwardOptions& options, const ModelSizes& sizes, const RopeSpec& rope_spec,
           const at::Device& device)
    : n_sequences(batch.n_sequences()),
      length(batch.length()),
      type(options.type),
      budget(options.budget),
      recompute(options.recompute),
      fixed_ids(options.fixed_ids) {
  check(batch, sizes);
  tokens = batch.tokens.reshape(-1).to(device);
  if (batch.documents.defined()) {
    documents = batch.documents.to(device);
    valid = documents.reshape(-1).ge(0);
  }
  rope = make_rope_table(rope_spec, length, device);
}

}  // namespace moebox::train
