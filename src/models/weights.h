// A model's weights: matrices in packed memory or in a mapped pack file, small vectors as floats.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/anonymous_memory.h"
#include "base/thread_team.h"
#include "io/mapped_file.h"
#include "models/expert_cache.h"
#include "models/packing.h"
#include "models/weight_plan.h"

namespace moebox {

class Checkpoint;
class TensorFinder;

/// What is to happen to the weights of a model that is being made.
struct WeightTask {
  ThreadTeam* team = nullptr;               // nullptr: nothing; the model is a plan
  const PackWriteOptions* write = nullptr;  // write a pack file instead of loading
  PackFileState* state = nullptr;           // tell of the pack file
};

/// Owns what the matrices point into.
struct Weights {
  AnonymousMemory memory;
  MappedFile file;
  std::unique_ptr<ExpertCache> experts;  // where routed experts are not in memory
};

/// Collects a model's matrices, in the order of a forward pass, and then makes them usable.
class WeightPacker {
 public:
  /// `target` is filled by finish() and must stay where it is until then.
  /// Throws Error(unsupported) for FP8 without scales.
  void add(const TensorView& stored, PackedMatrix* target) { plan_.add(StoredMatrix{stored}, target); }
  void add(const StoredMatrix& stored, PackedMatrix* target) { plan_.add(stored, target); }
  /// The matrices from here to end_expert() are gate, up and down of a routed expert.
  void begin_expert(int layer, int expert) { plan_.begin_expert(layer, expert); }
  void end_expert() noexcept { plan_.end_expert(); }

  /// Bytes that the weights will take. `top_k` routed experts are what a token takes; 0: a dense model. Throws
  /// Error(resource) for an expert cache that is too small.
  std::size_t total_bytes(const ModelOptions& options, int top_k) const;
  /// Does what the task asks for. Maps a pack file that holds, as the options allow; or packs on all members, and gives
  /// each stored tensor's pages back. Throws Error.
  Weights finish(const Checkpoint& checkpoint, const WeightTask& task, const ModelOptions& options, int top_k);

 private:
  WeightPlan plan_;
};

/// A matrix with the scales that belong to it in an FP8 checkpoint.
StoredMatrix stored_matrix(TensorFinder& find, const TensorView& tensor);

/// A vector (norm weight, bias) as floats. `tensor` may be nullptr: an empty vector.
std::vector<float> to_floats(const TensorView* tensor);

}  // namespace moebox
