#include "runtime/evaluate.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"

namespace moebox {

Evaluator::Evaluator(const Model& model, ThreadTeam& team, int max_tokens, int chunk)
    : model_(model),
      team_(team),
      max_tokens_(max_tokens),
      chunk_(std::clamp(chunk, 1, std::max(1, max_tokens))),
      pool_(model.info(), std::max(1, BlockPool::needed(max_tokens))),
      workspace_(model.make_workspace(chunk_, chunk_, std::max(1, max_tokens), team.size())),
      logits_(static_cast<std::size_t>(chunk_) * static_cast<std::size_t>(model.info().vocab_size) * sizeof(float),
              "logits", false),
      usage_(MoeUsage::none_of(model.info())),
      dropped_(static_cast<std::size_t>(model.info().moe.n_layers) * static_cast<std::size_t>(chunk_)) {
  experts_.resize(dropped_.size() * static_cast<std::size_t>(model.info().moe.top_k));
  blocks_.reserve(static_cast<std::size_t>(pool_.total()));
  pool_.grow(blocks_, max_tokens);
}

void Evaluator::run(std::span<const TokenId> tokens, const LogitsCallback& callback, int n_prompt) {
  const auto n_tokens = static_cast<int>(std::min<std::size_t>(tokens.size(), INT32_MAX));
  if (n_tokens > max_tokens_)
    throw Error(ErrorKind::invalid_argument,
                "expected at most " + std::to_string(max_tokens_) + " tokens, found " + std::to_string(n_tokens),
                "tokens");
  const auto vocab = static_cast<std::size_t>(model_.info().vocab_size);
  for (const TokenId id : tokens)
    if (id < 0 || static_cast<std::size_t>(id) >= vocab)
      throw Error(ErrorKind::invalid_argument,
                  "expected token ids from 0 to " + std::to_string(vocab - 1) + ", found " + std::to_string(id),
                  "tokens");
  const int role_border = n_prompt < 0 ? n_tokens : n_prompt;
  std::vector<int> rows;
  for (int first = 0; first < n_tokens;) {
    const bool prompt = first < role_border;
    const int last = std::min({first + chunk_, n_tokens, prompt ? role_border : n_tokens});
    const int count = last - first;
    rows.resize(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) rows[static_cast<std::size_t>(i)] = i;
    const BatchSpan span{0, count, first, blocks_, prompt ? Role::prompt : Role::generated, budget_};
    auto* logits = reinterpret_cast<float*>(logits_.data());
    Batch batch{
        tokens.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), {&span, 1}, rows, logits};
    if (!experts_.empty()) batch.routing = {experts_.data(), dropped_.data()};
    model_.forward(team_, *workspace_, pool_.blocks(), batch);
    workspace_->check_step();
    count_experts(count);
    callback(first, {logits, static_cast<std::size_t>(count) * vocab});
    first = last;
  }
}

void Evaluator::set_budget(const RoutingBudget& budget) {
  const MoeInfo& moe = model_.info().moe;
  if (moe.n_layers == 0)
    throw Error(ErrorKind::invalid_argument, "the model has no experts that a budget could limit", "moe");
  budget.validate(moe.top_k);
  budget_ = budget;
  usage_ = MoeUsage::none_of(model_.info());
}

void Evaluator::count_experts(int n_tokens) noexcept {
  const MoeInfo& moe = model_.info().moe;
  const auto top_k = static_cast<std::size_t>(moe.top_k), n_rows = static_cast<std::size_t>(moe.n_layers * n_tokens);
  for (std::size_t row = 0; row < n_rows; ++row)
    usage_.add(std::span(experts_).subspan(row * top_k, top_k), dropped_[row]);
}

void evaluate(const Model& model, ThreadTeam& team, std::span<const TokenId> tokens, int chunk,
              const LogitsCallback& callback) {
  Evaluator(model, team, static_cast<int>(tokens.size()), chunk).run(tokens, callback);
}

}  // namespace moebox
