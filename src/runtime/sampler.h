// Chooses the next token of one sequence from its logits.
#pragma once

#include <span>
#include <vector>

#include "runtime/request.h"

namespace moebox {

/// Memory for one choice at a time, for whoever makes it: a thread needs one, however many sequences there are.
struct SamplerScratch {
  explicit SamplerScratch(int vocab_size) : raw(static_cast<std::size_t>(vocab_size)) {
    candidates.reserve(static_cast<std::size_t>(vocab_size));
  }

  struct Candidate {
    TokenId id;
    float logit;    // divided by the temperature
    double weight;  // exp(logit - largest)
  };
  static std::size_t bytes(int vocab_size) noexcept {
    return static_cast<std::size_t>(vocab_size) * (sizeof(Candidate) + sizeof(float));
  }

  std::vector<Candidate> candidates;
  std::vector<float> raw;  // (vocab_size): the logits as the model gave them
};

/// The order: logit bias, penalties, processors, temperature, top-k, top-p, min-p, typical; then one uniform number
/// chooses. It depends on the logits, the parameters and (seed, choice, position) alone.
class Sampler {
 public:
  /// Takes the memory for `max_new_tokens` tokens.
  Sampler(SamplingParams params, std::vector<std::shared_ptr<LogitProcessor>> processors, int choice,
          std::span<const TokenId> prompt, int max_new_tokens);

  /// `logits` (vocab_size) is overwritten. `tokens` is prompt and answer so far; the chosen token will stand at
  /// position tokens.size(). The result is valid until the next call. Allocates nothing but what a processor
  /// allocates. Throws what a processor throws, and Error(internal) when no token is left.
  const GeneratedToken& sample(const KernelTable& kernels, std::span<float> logits, std::span<const TokenId> tokens,
                               SamplerScratch& scratch);

  const SamplingParams& params() const noexcept { return params_; }
  /// Of a sampler that is not asked any more.
  void forget_processors() noexcept { processors_.clear(); }

 private:
  using Candidate = SamplerScratch::Candidate;
  using Candidates = std::vector<Candidate>;
  struct Seen {
    TokenId id;
    int in_answer;
  };

  void find_likeliest(std::span<const float> logits, float normaliser);
  void count(TokenId id);
  void add_bias_and_penalties(std::span<float> logits) const;
  TokenId draw(std::span<const float> logits, std::uint32_t position, Candidates& candidates) const;
  void gather(std::span<const float> logits, Candidates& candidates) const;
  void keep_top_k(Candidates& candidates) const;
  void keep_top_p(Candidates& candidates) const;
  void keep_min_p(Candidates& candidates) const;
  void keep_typical(Candidates& candidates) const;

  SamplingParams params_;
  std::vector<std::shared_ptr<LogitProcessor>> processors_;
  std::uint64_t seed_;
  std::uint32_t choice_;
  bool penalised_;
  std::vector<Seen> seen_;  // filled when a penalty is set: the tokens of prompt and answer, each once
  GeneratedToken token_;
};

}  // namespace moebox
