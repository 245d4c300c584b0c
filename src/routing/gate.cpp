#include "routing/gate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace moebox {
namespace {

constexpr float lowest = -std::numeric_limits<float>::infinity();

std::size_t index_of(int i) noexcept { return static_cast<std::size_t>(i); }

/// Scores are computed in double and rounded once. The exponential is the C library's: the bits are equal for the same
/// library on the same kind of processor (docs/determinism.md).
void score_experts(GateScore kind, std::span<const float> logits, std::span<float> scores) noexcept {
  if (kind == GateScore::sigmoid) {
    for (std::size_t i = 0; i < logits.size(); ++i)
      scores[i] = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(logits[i]))));
    return;
  }
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const float logit : logits) largest = std::max(largest, static_cast<double>(logit));
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  for (std::size_t i = 0; i < logits.size(); ++i)
    scores[i] = static_cast<float>(std::exp(static_cast<double>(logits[i]) - largest) / sum);
}

/// Index of the largest value, the lowest on a tie; -1 when all are -infinity.
int best_of(std::span<const float> values) noexcept {
  int best = -1;
  float value = lowest;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (values[i] > value) value = values[i], best = static_cast<int>(i);
  return best;
}

float group_score(GroupScore kind, std::span<const float> members) noexcept {
  float first = lowest, second = lowest;
  for (const float value : members) {
    if (value > first)
      second = first, first = value;
    else if (value > second)
      second = value;
  }
  return kind == GroupScore::best ? first : first + second;
}

/// Leaves -infinity in `choice` for the experts of all groups but the best ones.
void keep_best_groups(const GateSpec& spec, GateScratch& scratch) noexcept {
  const int size = spec.n_experts / spec.n_groups;
  const std::span<float> choice(scratch.choice);
  for (int g = 0; g < spec.n_groups; ++g)
    scratch.group_scores[index_of(g)] =
        group_score(spec.group_score, choice.subspan(index_of(g * size), index_of(size)));
  // A group that is taken gets a NaN, which no comparison finds again.
  for (int i = 0; i < spec.top_groups; ++i)
    if (const int best = best_of(scratch.group_scores); best >= 0)
      scratch.group_scores[index_of(best)] = std::numeric_limits<float>::quiet_NaN();
  for (int g = 0; g < spec.n_groups; ++g)
    if (!std::isnan(scratch.group_scores[index_of(g)])) std::fill_n(choice.begin() + g * size, size, lowest);
}

/// The model's own choice: top_k experts by `choice`, with their scores as weights.
void pick(const GateSpec& spec, GateScratch& scratch) noexcept {
  for (float& value : scratch.choice)
    if (std::isnan(value)) value = lowest;
  if (spec.n_groups > 1) keep_best_groups(spec, scratch);
  for (int i = 0; i < spec.top_k; ++i) {
    int best = best_of(scratch.choice);
    if (best < 0) {  // nothing but NaN is left: the lowest id that is not taken, so that the ids stay different
      best = 0;
      while (std::any_of(scratch.picked.begin(), scratch.picked.begin() + i,
                         [&](const ChosenExpert& taken) { return taken.expert == best; }))
        ++best;
    }
    scratch.picked[index_of(i)] = {best, scratch.scores[index_of(best)]};
    scratch.choice[index_of(best)] = lowest;
  }
}

/// From the largest weight to the smallest, a NaN last.
void sort_by_weight(std::span<ChosenExpert> picked) noexcept {
  std::sort(picked.begin(), picked.end(), [](const ChosenExpert& a, const ChosenExpert& b) {
    const bool a_nan = std::isnan(a.weight), b_nan = std::isnan(b.weight);
    if (a_nan != b_nan) return b_nan;
    if (!a_nan && a.weight != b.weight) return a.weight > b.weight;
    return a.expert < b.expert;
  });
}

/// Normalised and scaled, by ascending expert. `kept` is the sum of the scores in `picked`, in its order.
void write_weights(const GateSpec& spec, std::span<const ChosenExpert> picked, float kept,
                   std::span<ChosenExpert> chosen) noexcept {
  for (std::size_t i = 0; i < picked.size(); ++i) {
    float weight = picked[i].weight;
    if (spec.normalize) weight /= kept + 1e-20f;
    chosen[i] = {picked[i].expert, weight * spec.scale};
  }
  std::sort(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(picked.size()),
            [](const ChosenExpert& a, const ChosenExpert& b) { return a.expert < b.expert; });
}

[[noreturn]] void refuse_gate(const char* field, const std::string& expected, const std::string& found,
                              const std::string& where) {
  throw Error(ErrorKind::invalid_file, "expected " + expected + ", found " + found, where + ": " + field);
}

}  // namespace

void validate(const GateSpec& spec, const std::string& where, const GateFieldNames& names) {
  const auto text = [](int value) { return std::to_string(value); };
  if (spec.n_experts < 1 || spec.n_experts > max_experts_of_a_layer)
    refuse_gate(names.n_experts, "1 to " + text(max_experts_of_a_layer), text(spec.n_experts), where);
  if (spec.top_k < 1 || spec.top_k > spec.n_experts)
    refuse_gate(names.top_k, "1 to " + text(spec.n_experts) + " (all experts)", text(spec.top_k), where);
  if (spec.n_groups < 1 || spec.n_experts % spec.n_groups != 0)
    refuse_gate(names.n_groups, "a number that divides " + text(spec.n_experts) + " experts", text(spec.n_groups),
                where);
  if (spec.top_groups < 1 || spec.top_groups > spec.n_groups)
    refuse_gate(names.top_groups, "1 to " + text(spec.n_groups) + " (all groups)", text(spec.top_groups), where);
  const int group_size = spec.n_experts / spec.n_groups;
  if (spec.n_groups > 1 && spec.group_score == GroupScore::sum_of_best2 && group_size < 2)
    refuse_gate(names.n_groups, "groups of at least two experts", text(spec.n_groups) + " groups of one", where);
  if (spec.n_groups > 1 && spec.top_k > spec.top_groups * group_size)
    refuse_gate(names.top_k,
                "at most " + text(spec.top_groups * group_size) + ", the experts of " + names.top_groups + " groups",
                text(spec.top_k), where);
  if (!std::isfinite(spec.scale)) refuse_gate(names.scale, "a finite number", std::to_string(spec.scale), where);
  if (const GateAttentionSpec& own = spec.attention; own.n_heads > 0) {
    if (own.head_dim < 8 || own.head_dim > 256 || own.head_dim % 8 != 0)
      refuse_gate(names.attention_head_dim, "a multiple of 8, at most 256", text(own.head_dim), where);
    if (spec.score != GateScore::softmax)
      refuse_gate(names.attention, "a softmax gate", "a sigmoid gate with an attention of its own", where);
  }
}

void validate_bias(const GateSpec& spec, std::span<const float> bias, const std::string& where) {
  if (bias.empty()) return;
  if (bias.size() != index_of(spec.n_experts))
    refuse_gate("correction bias", std::to_string(spec.n_experts) + " values", std::to_string(bias.size()), where);
  for (const float value : bias)
    if (!std::isfinite(value)) refuse_gate("correction bias", "finite numbers", std::to_string(value), where);
}

GateScratch::GateScratch(const GateSpec& spec)
    : scores(index_of(spec.n_experts)),
      choice(index_of(spec.n_experts)),
      group_scores(index_of(spec.n_groups)),
      picked(index_of(spec.top_k)),
      weights(index_of(spec.top_k)) {}

GateChoice choose_experts(const GateSpec& spec, std::span<const float> logits, std::span<const float> bias,
                          const RoutingBudget& budget, GateScratch& scratch, std::span<ChosenExpert> chosen) noexcept {
  score_experts(spec.score, logits, scratch.scores);
  scratch.choice = scratch.scores;
  for (std::size_t i = 0; i < bias.size(); ++i) scratch.choice[i] += bias[i];
  pick(spec, scratch);

  // The budget takes experts in the order of their weights, which a bias may have left in another order.
  const auto picked = std::span(scratch.picked);
  sort_by_weight(picked);
  for (std::size_t i = 0; i < picked.size(); ++i) scratch.weights[i] = picked[i].weight;
  GateChoice result;
  result.n_experts = kept_experts(budget, scratch.weights);

  // Sums run from the largest weight to the smallest.
  float total = 0, kept = 0;
  for (int i = 0; i < spec.top_k; ++i) {
    if (i == result.n_experts) kept = total;
    total += picked[index_of(i)].weight;
  }
  if (result.n_experts == spec.top_k) kept = total;
  result.dropped_share = result.n_experts == spec.top_k || !(total > 0) ? 0.0f : 1.0f - kept / total;

  write_weights(spec, picked.first(index_of(result.n_experts)), kept, chosen);
  return result;
}

void weigh_experts(const GateSpec& spec, std::span<const float> logits, GateScratch& scratch,
                   std::span<ChosenExpert> chosen) noexcept {
  score_experts(spec.score, logits, scratch.scores);
  const auto picked = std::span(scratch.picked).first(chosen.size());
  for (std::size_t i = 0; i < chosen.size(); ++i)
    picked[i] = {chosen[i].expert, scratch.scores[index_of(chosen[i].expert)]};
  sort_by_weight(picked);
  float kept = 0;
  for (const ChosenExpert& one : picked) kept += one.weight;
  write_weights(spec, picked, kept, chosen);
}

}  // namespace moebox
