// What is asked of the engine and what comes back: token ids, never text.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "models/model.h"

namespace moebox {

/// Changes the logits of the next token: grammars, watermarks, bans. One instance belongs to one sequence.
class LogitProcessor {
 public:
  virtual ~LogitProcessor() = default;
  /// `logits` (vocab_size) may be changed; -inf forbids a token. `tokens` is prompt and answer so far.
  virtual void apply(std::span<float> logits, std::span<const TokenId> tokens) = 0;
  /// Called with the token that was chosen.
  virtual void accept(TokenId /*token*/) {}
};

/// How the next token is chosen. The defaults choose from the model's own distribution.
struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy
  int top_k = 0;             // 0: all
  float top_p = 1.0f;
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;  // > 1 discourages tokens of prompt and answer (Keskar et al. 2019)
  float frequency_penalty = 0.0f;   // OpenAI's: per occurrence in the answer
  float presence_penalty = 0.0f;    // OpenAI's: once a token has occurred in the answer
  std::vector<std::pair<TokenId, float>> logit_bias;  // added to the logits; from -1000 to 1000
  std::optional<std::uint64_t> seed;                  // without one, the engine draws one
  int n_logprobs = -1;                                // -1: none; 0: of the chosen token; n: also of the n likeliest

  /// Throws Error(invalid_argument) that names the field, its range and the value found.
  void validate(int vocab_size) const;
};

struct GenerationRequest {
  std::vector<TokenId> prompt;  // not empty
  SamplingParams sampling;
  int max_new_tokens = std::numeric_limits<int>::max();  // cut to what the context leaves
  std::vector<TokenId> stop_tokens;                      // end the answer and are not part of it
  RoutingBudget budget{};                                // on a token's experts; a dense model takes only the default
  int choice = 0;                                        // enters the random numbers: n choices of one seed differ
  bool share_prefix = true;        // what is cached of its beginning is used, and its own blocks are kept for others
  std::uint64_t prefix_scope = 0;  // with whom: how long an answer takes tells whether a prompt was seen before
  std::string prefix_owner{};      // the same for a BlockStore: what stands for the scope after a restart, too
  std::vector<std::shared_ptr<LogitProcessor>> processors;
};

struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0;
};

struct GeneratedToken {
  TokenId id = 0;
  float logprob = 0;              // natural log, of the model's own distribution; set when n_logprobs >= 0
  std::vector<TokenLogprob> top;  // the n_logprobs likeliest, best first
};

enum class FinishReason {
  stop,       // a stop token, or the sink said so
  length,     // max_new_tokens, or the context is full
  cancelled,  // cancel(), or shutdown
  error,
};

/// What the gates did for one sequence, or for several of one model; each token is counted once.
struct MoeUsage {
  MoeInfo model;  // n_layers 0: dense, and nothing else is set
  std::int64_t model_parameters = 0;
  std::vector<std::int64_t> histogram;  // (top_k + 1): choices (tokens x layers) by their number of experts
  double dropped_mass = 0;              // sum over choices of the share that the budget dropped

  /// Of nothing yet. For a dense model nothing is set.
  static MoeUsage none_of(const ModelInfo& model);
  /// Counts a choice: its experts (top_k), -1 for those that a budget dropped, and their share.
  void add(std::span<const std::int32_t> chosen, float dropped_share) noexcept;

  std::int64_t n_choices() const noexcept;
  std::int64_t n_experts() const noexcept;  // of all choices together
  double experts_per_token() const noexcept;
  /// Share of the model's parameters that an average token used.
  double active_parameters() const noexcept;
  /// Share of the gates' mass that the budget dropped.
  double dropped_share() const noexcept;
  /// Multiply-adds that were not done: against the model's own k, and against all experts.
  std::int64_t saved_against_own_k() const noexcept;
  std::int64_t saved_against_dense() const noexcept;

  MoeUsage& operator+=(const MoeUsage& other);
};

struct GenerationStats {
  int prompt_tokens = 0;
  int generated_tokens = 0;  // tokens that reached the sink
  int cached_tokens = 0;     // of the prompt: found in the cache, and not computed
  int drafted_tokens = 0;    // guesses of the answer's next tokens that were verified
  int accepted_tokens = 0;   // of these, what became part of the answer, or ended it
  int preemptions = 0;
  double queue_ms = 0;        // from submit to the first step
  double first_token_ms = 0;  // from submit to the first token
  double prefill_ms = 0;      // from the first step to the first token
  double decode_ms = 0;       // from the first token to the last
  MoeUsage moe;
};

/// Receives one sequence's tokens. Called on the engine's thread, between steps: be quick and never block. Exceptions
/// end the sequence with an error.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  /// False ends the answer after this token.
  virtual bool on_token(const GeneratedToken& token) = 0;
  /// Exactly once, after the last token. `error` is set when the reason is error.
  virtual void on_finish(FinishReason reason, const GenerationStats& stats, const Error* error) = 0;
};

}  // namespace moebox
