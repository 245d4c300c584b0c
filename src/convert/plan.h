// What will be in a GGUF file: its metadata, and its tensors with where they come from. Types are chosen later, by a
// recipe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "convert/source.h"
#include "io/checkpoint.h"
#include "io/gguf_writer.h"
#include "spec/deepseek.h"
#include "spec/llama.h"
#include "spec/rope.h"
#include "spec/tensor_table.h"

namespace moebox {

struct PlannedTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // as in the file to be written, slowest dimension first
  TensorSource source;

  std::int64_t n_columns() const { return shape.empty() ? 1 : shape.back(); }
  DType stored_type() const { return source.parts.empty() ? DType::f32 : source.parts.front().view.dtype; }
};

/// What recipes want to know of a model.
struct ModelShape {
  std::string architecture;  // GGUF's name
  int n_layers = 0;
  int n_heads = 1, n_kv_heads = 1;
  int n_experts = 0;
};

struct ConversionPlan {
  GgufHeader header;  // metadata; tensors are added when their types are known
  ModelShape shape;
  std::vector<PlannedTensor> tensors;
};

/// From a Hugging Face folder. Throws Error(unsupported) that names what GGUF, or llama.cpp's reading of it, cannot
/// express.
ConversionPlan plan_llama_kind(const Checkpoint& checkpoint, const LlamaSpec& spec, std::string_view architecture);
struct DeepseekConversion {
  bool split_kv_b = true;  // k_b and v_b apart, as GGUF files have them since the absorbed form of attention is known
  bool keep_mtp = true;    // the layer that predicts a further token, where the files have it
};
ConversionPlan plan_deepseek(const Checkpoint& checkpoint, const DeepseekSpec& spec, const DeepseekConversion& options);
/// From GGUF: all metadata and tensors as they are, of any architecture; only tensors of one expert each are stacked.
ConversionPlan plan_gguf(const Checkpoint& checkpoint);

/// Collects a Hugging Face checkpoint's tensors by role.
class PlanBuilder {
 public:
  /// `names` are the rules for GGUF's names and shapes, `stored` those for the folder.
  PlanBuilder(const Checkpoint& checkpoint, std::vector<TensorRule> stored, std::vector<TensorRule> names,
              std::vector<std::string> ignored);

  /// Adds the tensor; nothing when the model has none. The result is valid until the next one is added.
  PlannedTensor* add(std::string_view role, int layer = -1);
  void add_experts(std::string_view role, int layer, int n_experts);
  /// The stored tensor with its factors, for what is not written as it is.
  StoredPart stored(std::string_view role, int layer);
  PlannedTensor& add_from(std::string_view role, int layer, TensorSource source);
  void add_values(std::string name, std::vector<float> values);
  /// All of them, once every tensor of the checkpoint has been explained.
  std::vector<PlannedTensor> finish();

 private:
  const TensorRule& name_rule(std::string_view role) const;
  StoredPart with_scales(const TensorView& view);

  TensorFinder find_;
  std::vector<TensorRule> names_;
  std::vector<PlannedTensor> tensors_;
};

/// Metadata that every architecture has: general.*, and "<architecture>.rope.*".
void set_general(GgufHeader& header, const Checkpoint& checkpoint, std::string_view architecture);
/// All of RoPE but YaRN's factor on attention, which architectures state in their own ways. Throws Error(unsupported)
/// for dynamic NTK, for a YaRN ramp without rounding, and for numbers that GGUF's readers refuse.
void set_rope(GgufHeader& header, const RopeSpec& rope, std::string_view architecture);
/// Throws Error(unsupported) that names `field` of config.json when GGUF's readers would refuse the number.
void check_rope_number(float value, RopeLimits limits, std::string_view gguf_key, std::string_view field);
/// GGUF's rope_freqs.weight for a scaling that it has no other way to say; empty where none is needed.
std::vector<float> rope_divisors(const RopeSpec& rope);

}  // namespace moebox
