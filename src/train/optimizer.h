// What moves the weights: AdamW all of them; or Muon the layers' matrices, and AdamW embeddings, output and vectors.
#pragma once

#include <optional>

#include "train/adamw.h"
#include "train/muon.h"

namespace moebox::train {

class Optimizer {
 public:
  /// Without `muon` AdamW moves everything. The weights must outlive this object.
  Optimizer(const std::vector<Weight>& weights, const AdamWOptions& adamw, const std::optional<MuonOptions>& muon);

  /// One step with the gradients that are there, times gradient_scale: what clipping leaves of them.
  void step(double learning_rate, double gradient_scale);
  void clear_gradients();

  /// Moments of these values, in their shape; of values that it does not move, none.
  std::vector<Tensor> moments_of(const Tensor& values) const;
  /// Moments, for checkpoints: whoever writes into them changes this object.
  std::vector<NamedTensor> state() const;
  std::map<std::string, std::int64_t> counts() const { return adamw_.counts(); }
  /// Throws Error(invalid_file) for counts of another model.
  void set_counts(const std::map<std::string, std::int64_t>& counts) { adamw_.set_counts(counts); }

 private:
  AdamW adamw_;
  Muon muon_;
};

}  // namespace moebox::train
