// A table that says which tensors an architecture has, under both formats' names, and finds them in a checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "io/checkpoint.h"

namespace moebox {

/// One kind of tensor. "{}" in a name stands for the layer's number, "{expert}" for an expert's.
struct TensorRule {
  std::string_view role;      // "attn_q": how the model asks for it
  std::string_view gguf, hf;  // names in the two formats
  std::vector<std::int64_t> shape;
  bool present = true;  // in this model; where not, a file that has the tensor all the same is refused
};

/// Parameters of a checkpoint without the tensors whose names hold one of `ignored`.
std::int64_t count_parameters(const Checkpoint& checkpoint, const std::vector<std::string>& ignored);

/// A rule's name with the numbers in their places; -1 where there is none.
std::string tensor_name(std::string_view pattern, int layer = -1, int expert = -1);

/// Finds tensors by role and checks their shapes. At the end, finish() fails on tensors that no rule explains: a file
/// with a feature that is not implemented must not load as if it had none.
class TensorFinder {
 public:
  /// `ignored` are parts of names of tensors that carry nothing for this model (precomputed RoPE frequencies, say).
  TensorFinder(const Checkpoint& checkpoint, std::vector<TensorRule> rules, std::vector<std::string> ignored = {});

  /// The tensor, or nullptr when the model has none (TensorRule::present). `layer` is -1 outside the layers. Throws
  /// Error: not_found, or invalid_file when the shape is another one.
  const TensorView* find(std::string_view role, int layer = -1);
  /// The tensor of a role that the model has.
  const TensorView& get(std::string_view role, int layer = -1);
  /// The matrices of `n` experts, whose rule has one expert's shape (rows, columns): tensors of their own in a Hugging
  /// Face folder, slices of one tensor (n, rows, columns) in GGUF, or tensors of their own in GGUF files from before
  /// April 2024 ("blk.0.ffn_up.3.weight").
  std::vector<TensorView> experts(std::string_view role, int layer, int n);
  /// The factors of an FP8 matrix, one for each block of 128 x 128: (rows / 128, columns / 128), rounded up. F32.
  const TensorView& block_scales(const TensorView& matrix);
  void finish() const;

 private:
  const TensorRule& rule(std::string_view role) const;
  const TensorView& look_up(const std::string& name, const std::vector<std::int64_t>& shape);

  const Checkpoint& checkpoint_;
  std::vector<TensorRule> rules_;
  std::vector<std::string> ignored_;
  std::unordered_set<std::string> used_;
};

}  // namespace moebox
