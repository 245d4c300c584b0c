#include "spec/tensor_table.h"

#include <algorithm>

#include "base/error.h"

namespace moebox {
namespace {

std::string with_layer(std::string_view pattern, int layer) {
  const auto place = pattern.find("{}");
  if (place == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, place)) + std::to_string(layer) + std::string(pattern.substr(place + 2));
}

}  // namespace

TensorFinder::TensorFinder(const Checkpoint& checkpoint, std::vector<TensorRule> rules,
                           std::vector<std::string> ignored)
    : checkpoint_(checkpoint), rules_(std::move(rules)), ignored_(std::move(ignored)) {}

const TensorRule& TensorFinder::rule(std::string_view role) const {
  const auto found =
      std::find_if(rules_.begin(), rules_.end(), [&](const TensorRule& rule) { return rule.role == role; });
  if (found == rules_.end()) throw Error(ErrorKind::internal, "no rule for the tensor role " + std::string(role));
  return *found;
}

const TensorView* TensorFinder::find(std::string_view role, int layer) {
  const TensorRule& wanted = rule(role);
  const std::string name =
      with_layer(checkpoint_.format() == Checkpoint::Format::gguf ? wanted.gguf : wanted.hf, layer);
  const TensorView* tensor = checkpoint_.find_tensor(name);
  if (tensor == nullptr) {
    if (!wanted.required) return nullptr;
    throw Error(ErrorKind::not_found, "the tensor \"" + name + "\" is missing", checkpoint_.path().string(),
                "the file is incomplete, or of another architecture");
  }
  const bool same = tensor->rank == static_cast<int>(wanted.shape.size()) &&
                    std::equal(wanted.shape.begin(), wanted.shape.end(), tensor->shape.begin());
  if (!same) {
    TensorView expected;
    expected.rank = static_cast<int>(wanted.shape.size());
    std::copy(wanted.shape.begin(), wanted.shape.end(), expected.shape.begin());
    throw Error(ErrorKind::invalid_file,
                "expected the shape " + shape_text(expected) + ", found " + shape_text(*tensor), "tensor " + name);
  }
  used_.insert(name);
  return tensor;
}

const TensorView& TensorFinder::get(std::string_view role, int layer) {
  const TensorView* tensor = find(role, layer);
  if (tensor == nullptr)
    throw Error(ErrorKind::not_found, "the tensor for " + std::string(role) + " is missing",
                checkpoint_.path().string());
  return *tensor;
}

void TensorFinder::finish() const {
  for (const TensorView& tensor : checkpoint_.tensors()) {
    if (used_.contains(tensor.name)) continue;
    const bool ignored = std::any_of(ignored_.begin(), ignored_.end(), [&](const std::string& part) {
      return tensor.name.find(part) != std::string::npos;
    });
    if (!ignored)
      throw Error(
          ErrorKind::unsupported,
          "the tensor \"" + tensor.name + "\" belongs to a feature that is not implemented for this architecture",
          checkpoint_.path().string());
  }
}

}  // namespace moebox
