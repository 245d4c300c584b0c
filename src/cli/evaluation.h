// A model for looking at its logits: no engine, no sampling.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <span>

#include "base/thread_team.h"
#include "cli/settings.h"
#include "io/checkpoint.h"
#include "models/model.h"
#include "runtime/evaluate.h"
#include "tokenizer/tokenizer.h"

namespace moebox::cli {

class Evaluation {
 public:
  /// Loads by the settings' threads, kv_type and isa. Throws Error.
  Evaluation(const Settings& settings, const std::filesystem::path& path);

  const Model& model() const { return *model_; }
  /// Throws Error when the files carry none.
  const Tokenizer& tokenizer() const;

  /// Makes room for runs of at most so many tokens. Before the first run().
  void reserve(int max_tokens);
  /// On the experts of all runs from now on, after reserve(). Throws Error.
  void set_budget(const RoutingBudget& budget) { evaluator_->set_budget(budget); }
  /// What the gates have chosen since then.
  const MoeUsage& usage() const { return evaluator_->usage(); }
  /// Calls `on_rows` with the logits of consecutive tokens: (first_position, rows of vocab_size floats, vocab_size).
  void run(std::span<const TokenId> tokens,
           const std::function<void(int, std::span<const float>, std::size_t)>& on_rows);

 private:
  Checkpoint checkpoint_;
  ThreadTeam team_;
  std::unique_ptr<const Model> model_;
  std::unique_ptr<Evaluator> evaluator_;
  mutable std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace moebox::cli
