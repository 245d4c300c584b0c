// From GGUF to GGUF: everything is copied but the tensors' types. Architectures that moebox cannot run are no obstacle.
// Files from before April 2024 have a tensor for each expert; they are written as one, as readers want them today.
#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "convert/plan.h"

namespace moebox {
namespace {

int count_at(const Checkpoint& checkpoint, const std::string& key, int fallback) {
  const MetadataValue* value = checkpoint.find(key);
  if (value == nullptr || std::holds_alternative<std::vector<std::int64_t>>(*value)) return fallback;  // one a layer
  const std::int64_t number = checkpoint.integer(key);
  if (number < 0 || number > (1 << 20))
    throw Error(ErrorKind::invalid_file, "out of range: " + std::to_string(number), key);
  return static_cast<int>(number);
}

/// A name like "blk.7.ffn_up.3.weight".
struct OneExpert {
  std::string stacked;  // "blk.7.ffn_up_exps.weight"
  std::size_t expert;
};

std::optional<OneExpert> one_expert(const std::string& name) {
  for (const std::string_view part : {".ffn_gate.", ".ffn_up.", ".ffn_down."}) {
    const auto place = name.find(part);
    if (!name.starts_with("blk.") || place == std::string::npos) continue;
    const char* const first = name.data() + place + part.size();
    const char* const last = name.data() + name.size();
    std::size_t expert = 0;
    const auto [end, error] = std::from_chars(first, last, expert);
    if (error != std::errc() || std::string_view(end, last) != ".weight") return std::nullopt;
    return OneExpert{name.substr(0, place + part.size() - 1) + "_exps.weight", expert};
  }
  return std::nullopt;
}

PlannedTensor planned(const std::string& name, const TensorView& view) {
  PlannedTensor tensor;
  tensor.name = name;
  tensor.shape.assign(view.shape.begin(), view.shape.begin() + view.rank);
  return tensor;
}

/// Adds a checkpoint's tensors, those of one expert as parts of all experts' tensor.
class StackedTensors {
 public:
  StackedTensors(std::size_t n_experts, std::vector<PlannedTensor>& tensors)
      : n_experts_(n_experts), tensors_(tensors) {}

  void add(const TensorView& view) {
    const auto one = n_experts_ > 0 ? one_expert(view.name) : std::nullopt;
    if (!one) {
      tensors_.push_back(planned(view.name, view));
      tensors_.back().source.parts.push_back({view, nullptr});
      return;
    }
    if (one->expert >= n_experts_)
      throw Error(ErrorKind::invalid_file, "there are " + std::to_string(n_experts_) + " experts",
                  "tensor " + view.name);
    const auto [entry, is_new] = stacks_.try_emplace(one->stacked, Stack{tensors_.size(), {}});
    if (is_new) tensors_.push_back(planned(one->stacked, view));
    const PlannedTensor& all = tensors_[entry->second.place];
    if (view.rank != 2 || !std::equal(all.shape.begin(), all.shape.end(), view.shape.begin()))
      throw Error(ErrorKind::invalid_file, "expected a matrix of the other experts' shape, found " + shape_text(view),
                  "tensor " + view.name);
    entry->second.experts.emplace_back(one->expert, &view);
  }

  void finish() {
    for (auto& [name, stack] : stacks_) {
      std::sort(stack.experts.begin(), stack.experts.end());
      PlannedTensor& all = tensors_[stack.place];
      for (const auto& [expert, view] : stack.experts) {
        if (expert != all.source.parts.size()) break;  // the one before it is missing
        all.source.parts.push_back({*view, nullptr});
      }
      if (const std::size_t found = all.source.parts.size(); found != n_experts_)
        throw Error(ErrorKind::not_found, "expert " + std::to_string(found) + " is missing", "tensor " + name,
                    "the file is incomplete");
      all.shape.insert(all.shape.begin(), static_cast<std::int64_t>(n_experts_));
    }
  }

 private:
  struct Stack {
    std::size_t place;  // in tensors_
    std::vector<std::pair<std::size_t, const TensorView*>> experts;
  };

  const std::size_t n_experts_;
  std::vector<PlannedTensor>& tensors_;
  std::unordered_map<std::string, Stack> stacks_;  // by name
};

}  // namespace

ConversionPlan plan_gguf(const Checkpoint& checkpoint) {
  ConversionPlan plan;
  for (const GgufPair& pair : checkpoint.encoded_metadata()) {
    // What is said of the file that is read: how it is split and padded.
    if (pair.key.starts_with("split.") || pair.key == "general.alignment") continue;
    plan.header.set_encoded(pair.key, pair.value);
  }
  const std::string architecture = checkpoint.string("general.architecture");
  plan.shape.architecture = architecture;
  plan.shape.n_layers = count_at(checkpoint, architecture + ".block_count", 0);
  plan.shape.n_heads = count_at(checkpoint, architecture + ".attention.head_count", 1);
  plan.shape.n_kv_heads = count_at(checkpoint, architecture + ".attention.head_count_kv", plan.shape.n_heads);
  plan.shape.n_experts = count_at(checkpoint, architecture + ".expert_count", 0);
  plan.tensors.reserve(checkpoint.tensors().size());
  StackedTensors stack(static_cast<std::size_t>(plan.shape.n_experts), plan.tensors);
  for (const TensorView& view : checkpoint.tensors()) stack.add(view);
  stack.finish();
  return plan;
}

}  // namespace moebox
