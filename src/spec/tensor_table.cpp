#include "spec/tensor_table.h"

#include <algorithm>

#include "base/error.h"

namespace moebox {
namespace {

std::string replace_first(std::string_view pattern, std::string_view mark, int number) {
  const auto place = pattern.find(mark);
  if (place == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, place)) + std::to_string(number) +
         std::string(pattern.substr(place + mark.size()));
}

std::string with_layer(std::string_view pattern, int layer) { return replace_first(pattern, "{}", layer); }

/// Row `index` of a tensor (n, rows, columns), which is contiguous, as a matrix.
TensorView slice(const TensorView& tensor, std::int64_t index) {
  TensorView part = tensor;
  part.rank = 2;
  part.shape = {tensor.shape[1], tensor.shape[2]};
  const std::size_t bytes = tensor.data.size() / static_cast<std::size_t>(tensor.shape[0]);
  part.data = tensor.data.subspan(static_cast<std::size_t>(index) * bytes, bytes);
  return part;
}

/// "blk.{}.ffn_up_exps.weight" as files from before April 2024 have it: "blk.{}.ffn_up.{expert}.weight".
std::string one_expert_pattern(std::string_view stacked) {
  constexpr std::string_view mark = "_exps.";
  const auto place = stacked.find(mark);
  if (place == std::string_view::npos) return {};
  return std::string(stacked.substr(0, place)) + ".{expert}." + std::string(stacked.substr(place + mark.size()));
}

bool holds_one_of(const std::string& name, const std::vector<std::string>& parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](const std::string& part) { return name.find(part) != std::string::npos; });
}

}  // namespace

std::int64_t count_parameters(const Checkpoint& checkpoint, const std::vector<std::string>& ignored) {
  std::int64_t count = 0;
  for (const TensorView& tensor : checkpoint.tensors())
    if (!holds_one_of(tensor.name, ignored)) count += tensor.n_elements();
  return count;
}

std::string tensor_name(std::string_view pattern, int layer, int expert) {
  const std::string name = layer < 0 ? std::string(pattern) : with_layer(pattern, layer);
  return expert < 0 ? name : replace_first(name, "{expert}", expert);
}

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
  if (!wanted.present) return nullptr;
  return &look_up(with_layer(checkpoint_.format() == Checkpoint::Format::gguf ? wanted.gguf : wanted.hf, layer),
                  wanted.shape);
}

const TensorView& TensorFinder::look_up(const std::string& name, const std::vector<std::int64_t>& shape) {
  const TensorView* tensor = checkpoint_.find_tensor(name);
  if (tensor == nullptr)
    throw Error(ErrorKind::not_found, "the tensor \"" + name + "\" is missing", checkpoint_.path().string(),
                "the file is incomplete, or of another architecture");
  const bool same =
      tensor->rank == static_cast<int>(shape.size()) && std::equal(shape.begin(), shape.end(), tensor->shape.begin());
  if (!same) {
    TensorView expected;
    expected.rank = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), expected.shape.begin());
    throw Error(ErrorKind::invalid_file,
                "expected the shape " + shape_text(expected) + ", found " + shape_text(*tensor), "tensor " + name);
  }
  used_.insert(name);
  return *tensor;
}

std::vector<TensorView> TensorFinder::experts(std::string_view role, int layer, int n) {
  const TensorRule& wanted = rule(role);
  std::vector<TensorView> matrices;
  matrices.reserve(static_cast<std::size_t>(n));
  std::string pattern = with_layer(wanted.hf, layer);
  if (checkpoint_.format() == Checkpoint::Format::gguf) {
    const std::string stacked = with_layer(wanted.gguf, layer);
    pattern = one_expert_pattern(stacked);
    if (checkpoint_.find_tensor(stacked) != nullptr ||
        checkpoint_.find_tensor(tensor_name(pattern, -1, 0)) == nullptr) {
      const TensorView& all = look_up(stacked, {n, wanted.shape.at(0), wanted.shape.at(1)});
      for (int i = 0; i < n; ++i) matrices.push_back(slice(all, i));
      return matrices;
    }
  }
  for (int i = 0; i < n; ++i) matrices.push_back(look_up(replace_first(pattern, "{expert}", i), wanted.shape));
  return matrices;
}

const TensorView& TensorFinder::block_scales(const TensorView& matrix) {
  const auto blocks = [](std::int64_t n) { return (n + 127) / 128; };
  const std::string name = matrix.name + "_scale_inv";
  const TensorView& scales = look_up(name, {blocks(matrix.n_rows()), blocks(matrix.n_columns())});
  if (scales.dtype != DType::f32)
    throw Error(ErrorKind::unsupported, "expected the scales in F32, found " + std::string(moebox::name(scales.dtype)),
                "tensor " + name);
  return scales;
}

const TensorView& TensorFinder::get(std::string_view role, int layer) {
  const TensorView* tensor = find(role, layer);
  if (tensor == nullptr) throw Error(ErrorKind::internal, "the model has no tensor of the role " + std::string(role));
  return *tensor;
}

void TensorFinder::finish() const {
  for (const TensorView& tensor : checkpoint_.tensors()) {
    if (used_.contains(tensor.name)) continue;
    if (!holds_one_of(tensor.name, ignored_))
      throw Error(
          ErrorKind::unsupported,
          "the tensor \"" + tensor.name + "\" belongs to a feature that is not implemented for this architecture",
          checkpoint_.path().string());
  }
}

}  // namespace moebox
