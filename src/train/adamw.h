// AdamW (Loshchilov and Hutter 2019) over weights of a model: by train/ops on processors, else by torch's fused step.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "train/weights.h"

namespace moebox::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;  // of matrices; norms and biases do not decay
};

class AdamW {
 public:
  /// Statistics among them are left alone.
  AdamW(const std::vector<Weight>& weights, const AdamWOptions& options);

  /// One step with the gradients that are there, times gradient_scale: what clipping leaves of them. A weight without
  /// one stays as it is, and so do its moments.
  void step(double learning_rate, double gradient_scale = 1.0);
  void clear_gradients();

  /// Those of these values; none where it does not move them.
  std::vector<Tensor> moments_of(const Tensor& values) const;
  /// Moments, for checkpoints: whoever writes into them changes this object.
  std::vector<NamedTensor> state() const;
  /// How often each weight was stepped, by its key.
  std::map<std::string, std::int64_t> counts() const;
  /// Of more weights, perhaps. Throws Error(invalid_file) for counts of another model.
  void set_counts(const std::map<std::string, std::int64_t>& counts);

 private:
  struct Moving {
    Weight weight;
    double weight_decay;
    Tensor mean, square;
    std::int64_t n_steps = 0;
  };
  struct Fused;

  const AdamWOptions options_;
  std::vector<Moving> moving_;
};

/// The squares of these weights' gradients, added up; not finite when one of them holds a NaN or an infinity.
double squared_gradients(const std::vector<Weight>& weights);

}  // namespace moebox::train
