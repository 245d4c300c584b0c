// Muon (Jordan et al. 2024): momentum whose matrix is made nearly orthogonal before it is a step, so that all of a
// matrix's directions are learnt at one pace; scaled as AdamW's steps are (Liu et al. 2025, arXiv 2502.16982).
#pragma once

#include <cstdint>
#include <vector>

#include "train/weights.h"

namespace moebox::train {

struct MuonOptions {
  double momentum = 0.95;  // Nesterov's
  double weight_decay = 0.1;
  int iterations = 5;                // of Newton and Schulz
  at::ScalarType type = at::kFloat;  // of its products: float32, or bfloat16, which errs by about a hundredth
};

/// Every matrix of a file is one to it: each expert's, and gate and up where they are one product. On
/// processors the same bits on any number of threads.
class Muon {
 public:
  /// `weights` are matrices and stacks of them.
  Muon(const std::vector<Weight>& weights, const MuonOptions& options);

  /// One step with the gradients that are there, times gradient_scale. A weight without one stays as it is.
  void step(double learning_rate, double gradient_scale);
  void clear_gradients();
  /// Those of these values; none where it does not move them.
  std::vector<Tensor> moments_of(const Tensor& values) const;
  /// Momenta, for checkpoints: whoever writes into them changes this object.
  std::vector<NamedTensor> state() const;

 private:
  struct Moving {
    Weight weight;
    Tensor momentum;
  };

  const MuonOptions options_;
  std::vector<Moving> weights_;
};

/// By products of this type. About U V^T of matrix (rows, columns) = U S V^T, float32: singular values between 0.7
/// and 1.2 after five iterations; those that are far smaller than the largest one stay small. Of zeros, zeros.
Tensor nearly_orthogonal(const Tensor& matrix, int iterations, at::ScalarType type = at::kFloat);

}  // namespace moebox::train
