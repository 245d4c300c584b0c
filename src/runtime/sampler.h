// Chooses the next token of one sequence from its logits.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "runtime/request.h"

namespace moebox {

/// The order: logit bias, penalties, processors, temperature, top-k, top-p, min-p, typical; then one uniform number
/// chooses. It depends on the logits, the parameters and (seed, choice, position) alone.
class Sampler {
 public:
  Sampler(SamplingParams params, std::vector<std::shared_ptr<LogitProcessor>> processors, int choice,
          std::span<const TokenId> prompt);

  /// `logits` (vocab_size) is overwritten. `tokens` is prompt and answer so far; the chosen token will stand at
  /// position tokens.size(). Throws what a processor throws, and Error(internal) when no token is left.
  GeneratedToken sample(const KernelTable& kernels, std::span<float> logits, std::span<const TokenId> tokens);

  const SamplingParams& params() const noexcept { return params_; }

 private:
  struct Candidate {
    TokenId id;
    float logit;    // divided by the temperature
    double weight;  // exp(logit - largest)
  };
  struct Counts {
    bool in_prompt = false;
    int in_answer = 0;
  };

  GeneratedToken with_logprobs(const KernelTable& kernels, std::span<const float> logits) const;
  void add_bias_and_penalties(std::span<float> logits) const;
  TokenId draw(std::span<const float> logits, std::uint32_t position);
  void gather(std::span<const float> logits);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  void keep_typical();

  SamplingParams params_;
  std::vector<std::shared_ptr<LogitProcessor>> processors_;
  std::uint64_t seed_;
  std::uint32_t choice_;
  bool penalised_;
  std::unordered_map<TokenId, Counts> seen_;  // filled when a penalty is set
  std::vector<Candidate> candidates_;
};

}  // namespace moebox
