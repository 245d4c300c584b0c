// A model's weights by the names of spec's table: what the layers multiply by, what files hold, and what an optimiser
// steps. A weight may be several tensors of a file, one behind the other: gate and up as one product, all experts of a
// layer as one stack.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/digest.h"
#include "spec/tensor_table.h"
#include "train/torch.h"

namespace moebox::train {

enum class WeightKind {
  matrix,  // embeddings and stacks of experts, too
  norm,
  bias,
  statistic  // no gradient: the correction bias of a gate, which a rule of its own moves
};

/// One tensor of a Hugging Face folder.
struct WeightPart {
  std::string name;        // "model.layers.3.mlp.experts.5.up_proj.weight"
  std::string_view role;   // in spec's table
  int layer, expert;       // -1: of none
  int slot;                // the expert's place in the weight
  std::int64_t first_row;  // in the weight, or in the expert's matrix of it
  std::vector<std::int64_t> shape;
};

/// A weight's parts that are held here. Copies share them, as they share the values: an expert that moves to another
/// rank has moved for everyone.
class WeightParts {
 public:
  auto begin() const { return held_->begin(); }
  auto end() const { return held_->end(); }
  const WeightPart& front() const { return held_->front(); }
  void push_back(WeightPart part) { held_->push_back(std::move(part)); }
  void replace(std::vector<WeightPart> held) const { *held_ = std::move(held); }

 private:
  std::shared_ptr<std::vector<WeightPart>> held_ = std::make_shared<std::vector<WeightPart>>();
};

struct Weight {
  WeightKind kind;
  /// float32: (rows, columns), (rows), or (n_experts, rows, columns). A leaf that asks for its gradient, unless it is a
  /// statistic.
  Tensor values;
  WeightParts parts;  // by role, then by expert
  int n_experts = 0;  // of the layer, of which `values` may hold some only; 0: it is no stack of experts

  bool is_split() const { return n_experts > 0 && values.size(0) < n_experts; }
};

/// Whose experts a process holds, of so many that hold them together.
struct ExpertSplit {
  int rank = 0, n_ranks = 1;
};

/// A tensor of a checkpoint. It shares the memory of what it is a copy of, unless it was cloned.
struct NamedTensor {
  std::string name;
  Tensor values;  // float32
};

/// The part's rows of `whole`, which has the weight's shape (values, gradient, a moment): a view.
Tensor part_of(const Tensor& whole, const WeightPart& part);
/// Every part of `whole`, as "kind/name of the part": what files hold, however the model stacks it.
void add_parts(std::vector<NamedTensor>& to, std::string_view kind, const Weight& weight, const Tensor& whole);
/// The weight's name, however many experts of it are held: "expert_gate.3".
std::string key_of(const Weight& weight);

struct PartDigest {
  std::string name;
  data::Digest digest;
};
/// Of all parts of a model, in the names' order.
std::string digest_of(const std::vector<PartDigest>& parts);

class WeightSet {
 public:
  /// `rules` is spec's table with the names and shapes of a Hugging Face folder.
  WeightSet(std::vector<TensorRule> rules, const at::Device& device, const ExpertSplit& split = {});

  /// The tensors of these roles, one behind the other. Undefined where the model has none of them. `layer` is -1
  /// outside the layers. Values are undetermined until they are loaded or drawn.
  Tensor add(std::initializer_list<std::string_view> roles, int layer = -1);
  /// The same of every expert that is held here: (experts, rows of all roles, columns). Throws Error(invalid_argument)
  /// where the experts cannot be split evenly.
  Tensor add_experts(std::initializer_list<std::string_view> roles, int layer, int n_experts);

  /// Where each of the layer's experts is: (n_experts) int64, rank * experts of a rank + slot in that rank's stacks. At
  /// first they are in their order. Undefined where all are here.
  Tensor places(int layer) const;
  /// Other places, in every copy of the weights' parts and of places(): values are left where they are.
  void set_places(int layer, const std::vector<std::int64_t>& places) const;

  const std::vector<Weight>& all() const noexcept { return weights_; }
  /// Those that have a gradient.
  std::vector<Tensor> trained() const;
  /// Of the whole model.
  std::int64_t n_parameters() const;
  bool is_split() const;
  /// Of the parts that are held here, in the names' order.
  std::vector<PartDigest> part_digests() const;
  /// Of all parts of the model, in their order.
  std::vector<std::string> all_names() const;
  /// 64 hexadecimal digits that change with any bit of any weight: BLAKE2b of the names and digests of all parts, in
  /// the names' order; a part's digest is that of the digests of its pieces of one MiB.
  std::string digest() const { return digest_of(part_digests()); }
  /// Of the first `n_layers` layers and the output matrix, what one token multiplies: of the experts those that it
  /// chooses, of the embedding nothing, unless it is the output matrix as well.
  std::int64_t n_active(int n_layers, int top_k, bool tied_embeddings) const;
  /// The part with this name; throws Error(not_found).
  std::pair<const Weight*, const WeightPart*> find(std::string_view name) const;

 private:
  Tensor add_weight(std::initializer_list<std::string_view> roles, int layer, int n_experts);
  /// Throws Error(resource) where the model does not fit into memory.
  void take_memory(const std::vector<std::int64_t>& shape);
  const TensorRule& rule(std::string_view role) const;

  std::vector<TensorRule> rules_;
  at::Device device_;
  ExpertSplit split_;
  std::vector<std::string> names_;  // of all parts of the model
  std::uint64_t available_bytes_, bytes_ = 0;
  std::vector<Weight> weights_;
  std::map<int, Tensor> places_;                                 // by layer
  std::map<std::size_t, std::vector<WeightPart>> expert_parts_;  // of split stacks by place in weights_: of all experts
};

}  // namespace moebox::train
