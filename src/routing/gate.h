// The one definition of what a gate does: scores of a token in, experts and weights out. The engine and the trainer
// both use it: given equal logits they choose the same experts with the same weights (docs/routing.md).
// It knows no tensors: who multiplies the router's matrix is the caller's business.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "routing/budget.h"

namespace moebox {

enum class GateScore { softmax, sigmoid };

/// How a group of experts is judged in a group-limited choice.
enum class GroupScore {
  best,         // its best expert: DeepSeek-V2
  sum_of_best2  // the sum of its two best: DeepSeek-V3
};

/// A causal self-attention of the gate's own over the tokens so far: the router's matrix then multiplies what it
/// computes for a token instead of the token's row.
struct GateAttentionSpec {
  int n_heads = 0;   // 0: none
  int head_dim = 0;  // a multiple of 8, at most 256

  int n_values() const noexcept { return n_heads * head_dim; }
};

struct GateSpec {
  int n_experts = 0;
  int top_k = 0;  // experts of a token
  GateScore score = GateScore::softmax;
  int n_groups = 1;    // experts in equal groups of neighbours; 1: no groups
  int top_groups = 1;  // groups from which experts may be taken
  GroupScore group_score = GroupScore::best;
  bool normalize = false;  // weights are divided by their sum (norm_topk_prob)
  float scale = 1.0f;      // then multiplied by this (routed_scaling_factor)
  GateAttentionSpec attention{};
};

/// What a format calls a gate's numbers: DeepSeek's config.json, where nothing else is said.
struct GateFieldNames {
  const char* n_experts = "n_routed_experts";
  const char* top_k = "num_experts_per_tok";
  const char* n_groups = "n_group";
  const char* top_groups = "topk_group";
  const char* scale = "routed_scaling_factor";
  const char* attention = "gate_attention";
  const char* attention_head_dim = "gate_attention.head_dim";
};

/// Throws Error(invalid_file) that names the field when the numbers do not hold together. `where` names the file.
void validate(const GateSpec& spec, const std::string& where, const GateFieldNames& names = {});
/// Throws Error(invalid_file) when the bias has another length than n_experts, or holds a NaN or an infinity.
void validate_bias(const GateSpec& spec, std::span<const float> bias, const std::string& where);

struct ChosenExpert {
  int expert;
  float weight;
};

/// What the gate did for one token.
struct GateChoice {
  int n_experts = 0;        // written to `chosen`
  float dropped_share = 0;  // of the mass of the model's own choice, by the budget
};

/// Memory for one choice at a time.
struct GateScratch {
  explicit GateScratch(const GateSpec& spec);

  std::vector<float> scores, choice;  // (n_experts)
  std::vector<float> group_scores;    // (n_groups)
  std::vector<ChosenExpert> picked;   // (top_k)
  std::vector<float> weights;         // (top_k)
};

/// Chooses a token's experts and writes them to `chosen` (top_k), by ascending expert: the order in which their outputs
/// are added.
///
/// `logits` (n_experts) are the router's products. `bias` (n_experts, or empty) is added to the scores for the choice
/// only: it balances the load and is no part of a weight (DeepSeek-V3, arXiv 2412.19437, equation 16). Every tie goes
/// to the lower id; a NaN is chosen last. Allocates nothing.
GateChoice choose_experts(const GateSpec& spec, std::span<const float> logits, std::span<const float> bias,
                          const RoutingBudget& budget, GateScratch& scratch, std::span<ChosenExpert> chosen) noexcept;

/// Gives the experts of an earlier choice, `chosen` (at most top_k, different ones), the weights that follow from
/// `logits`, with the bits that choose_experts() would give them: for who computes a forward again and must not route
/// again. Allocates nothing.
void weigh_experts(const GateSpec& spec, std::span<const float> logits, GateScratch& scratch,
                   std::span<ChosenExpert> chosen) noexcept;

}  // namespace moebox
