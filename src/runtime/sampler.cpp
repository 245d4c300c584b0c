#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/random.h"

namespace moebox {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
// Colder is greedy: logits divided by less would overflow, and the largest could no longer be told from the others.
constexpr float least_temperature = 1e-6f;

/// Larger first, the lower id on a tie.
bool better(float a, TokenId id_a, float b, TokenId id_b) { return a > b || (a == b && id_a < id_b); }

}  // namespace

Sampler::Sampler(SamplingParams params, std::vector<std::shared_ptr<LogitProcessor>> processors, int choice,
                 std::span<const TokenId> prompt, int max_new_tokens)
    : params_(std::move(params)),
      processors_(std::move(processors)),
      seed_(params_.seed ? *params_.seed : fresh_seed()),
      choice_(static_cast<std::uint32_t>(choice)),
      penalised_(params_.repetition_penalty != 1.0f || params_.frequency_penalty != 0.0f ||
                 params_.presence_penalty != 0.0f) {
  if (params_.n_logprobs > 0) token_.top.reserve(static_cast<std::size_t>(params_.n_logprobs) + 1);
  if (!penalised_) return;
  std::vector<TokenId> ids(prompt.begin(), prompt.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  seen_.reserve(ids.size() + static_cast<std::size_t>(max_new_tokens));
  for (const TokenId id : ids) seen_.push_back({id, 0});
}

const GeneratedToken& Sampler::sample(const KernelTable& kernels, std::span<float> logits,
                                      std::span<const TokenId> tokens, SamplerScratch& scratch) {
  const auto size = static_cast<int>(logits.size());
  const bool wants_logprobs = params_.n_logprobs >= 0;
  float normaliser = 0;
  if (wants_logprobs) {
    normaliser = kernels.log_sum_exp(logits.data(), size);
    std::copy(logits.begin(), logits.end(), scratch.raw.begin());
    find_likeliest(logits, normaliser);
  }
  add_bias_and_penalties(logits);
  for (const auto& processor : processors_) processor->apply(logits, tokens);
  const int best = kernels.argmax(logits.data(), size);
  if (!(logits[static_cast<std::size_t>(best)] > minus_infinity))
    throw Error(ErrorKind::internal, "no token is left to choose from: every logit is -inf or NaN");
  token_.id = params_.temperature < least_temperature
                  ? best
                  : draw(logits, static_cast<std::uint32_t>(tokens.size()), scratch.candidates);
  if (wants_logprobs) token_.logprob = scratch.raw[static_cast<std::size_t>(token_.id)] - normaliser;
  for (const auto& processor : processors_) processor->accept(token_.id);
  if (penalised_) count(token_.id);
  return token_;
}

void Sampler::find_likeliest(std::span<const float> logits, float normaliser) {
  std::vector<TokenLogprob>& top = token_.top;
  top.clear();
  const auto wanted = std::min(static_cast<std::size_t>(params_.n_logprobs), logits.size());
  if (wanted == 0) return;
  // A heap of the best so far, its worst in front.
  const auto order = [](const TokenLogprob& a, const TokenLogprob& b) {
    return better(a.logprob, a.id, b.logprob, b.id);
  };
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) continue;
    const TokenLogprob entry{static_cast<TokenId>(i), logits[i]};
    if (top.size() == wanted && !order(entry, top.front())) continue;
    top.push_back(entry);
    std::push_heap(top.begin(), top.end(), order);
    if (top.size() > wanted) {
      std::pop_heap(top.begin(), top.end(), order);
      top.pop_back();
    }
  }
  std::sort(top.begin(), top.end(), order);
  for (TokenLogprob& entry : top) entry.logprob -= normaliser;
}

void Sampler::count(TokenId id) {
  const auto found = std::find_if(seen_.begin(), seen_.end(), [&](const Seen& seen) { return seen.id == id; });
  if (found != seen_.end())
    ++found->in_answer;
  else
    seen_.push_back({id, 1});
}

void Sampler::add_bias_and_penalties(std::span<float> logits) const {
  for (const auto& [id, bias] : params_.logit_bias) logits[static_cast<std::size_t>(id)] += bias;
  for (const auto& [id, in_answer] : seen_) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = logit < 0 ? logit * params_.repetition_penalty : logit / params_.repetition_penalty;
    logit -= params_.frequency_penalty * static_cast<float>(in_answer);
    if (in_answer > 0) logit -= params_.presence_penalty;
  }
}

void Sampler::gather(std::span<const float> logits, Candidates& candidates) const {
  candidates.clear();
  const float inverse = 1.0f / params_.temperature;
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (logits[i] > minus_infinity) candidates.push_back({static_cast<TokenId>(i), logits[i] * inverse, 0.0});
}

void Sampler::keep_top_k(Candidates& candidates) const {
  const auto k = static_cast<std::size_t>(params_.top_k);
  if (k == 0 || k >= candidates.size()) return;
  std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(k - 1), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return better(a.logit, a.id, b.logit, b.id); });
  candidates.resize(k);
}

void Sampler::keep_top_p(Candidates& candidates) const {
  if (params_.top_p >= 1.0f) return;
  double total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  const double wanted = static_cast<double>(params_.top_p) * total;
  // The nucleus is usually small: sort a growing head instead of the whole vocabulary.
  double sum = 0;
  std::size_t sorted = 0;
  for (std::size_t head = 256; sorted < candidates.size(); head *= 8) {
    const std::size_t end = std::min(candidates.size(), head);
    std::partial_sort(candidates.begin() + static_cast<std::ptrdiff_t>(sorted),
                      candidates.begin() + static_cast<std::ptrdiff_t>(end), candidates.end(),
                      [](const Candidate& a, const Candidate& b) { return better(a.logit, a.id, b.logit, b.id); });
    for (; sorted < end; ++sorted) {
      sum += candidates[sorted].weight;
      if (sum >= wanted) {
        candidates.resize(sorted + 1);
        return;
      }
    }
  }
}

void Sampler::keep_min_p(Candidates& candidates) const {
  if (params_.min_p <= 0.0f) return;
  // Weights are relative to the largest, whose weight is 1.
  std::erase_if(candidates, [&](const Candidate& c) { return c.weight < static_cast<double>(params_.min_p); });
}

void Sampler::keep_typical(Candidates& candidates) const {
  if (params_.typical_p >= 1.0f) return;
  double total = 0, entropy = 0;
  for (const Candidate& c : candidates) total += c.weight;
  // A share, not a weight, is compared with 0: the smallest weight divided by the total is 0, and 0 * log(0) is a NaN.
  for (const Candidate& c : candidates)
    if (const double share = c.weight / total; share > 0) entropy -= share * std::log(share);
  const auto surprise = [&](const Candidate& c) {
    const double share = c.weight / total;
    return share > 0 ? std::abs(-std::log(share) - entropy) : std::numeric_limits<double>::infinity();
  };
  std::sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
    const double sa = surprise(a), sb = surprise(b);
    return sa < sb || (sa == sb && a.id < b.id);
  });
  double sum = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    sum += candidates[i].weight;
    if (sum >= static_cast<double>(params_.typical_p) * total) {
      candidates.resize(i + 1);
      return;
    }
  }
}

TokenId Sampler::draw(std::span<const float> logits, std::uint32_t position, Candidates& candidates) const {
  gather(logits, candidates);
  keep_top_k(candidates);
  const float largest =
      std::max_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
        return a.logit < b.logit;
      })->logit;
  for (Candidate& c : candidates)
    c.weight = c.logit == largest ? 1.0 : std::exp(static_cast<double>(c.logit) - static_cast<double>(largest));
  keep_top_p(candidates);
  keep_min_p(candidates);
  keep_typical(candidates);
  double total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  double rest = uniform(seed_, choice_, position) * total;
  for (const Candidate& c : candidates) {
    rest -= c.weight;
    if (rest < 0) return c.id;
  }
  // Rounding only: the last candidate that has any weight.
  return std::find_if(candidates.rbegin(), candidates.rend(), [](const Candidate& c) { return c.weight > 0; })->id;
}

}  // namespace moebox
