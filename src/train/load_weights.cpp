#include "train/load_weights.h"

#include <algorithm>
#include <span>

#include "tensor/block_scales.h"
#include "tensor/dequantize.h"

namespace moebox::train {

Tensor read_tensor(TensorFinder& find, const TensorView& stored) {
  const TensorView* scales = stored.dtype == DType::f8_e4m3 ? &find.block_scales(stored) : nullptr;
  const std::vector<std::int64_t> shape(stored.shape.begin(), stored.shape.begin() + stored.rank);
  const Tensor values = at::empty(shape, at::kFloat);
  auto* out = values.mutable_data_ptr<float>();
  const auto n_columns = static_cast<std::size_t>(stored.n_columns());
  const std::size_t bytes = row_bytes(stored.dtype, n_columns);
  constexpr std::int64_t rows_of_a_task = 16;
  at::parallel_for(0, stored.n_rows(), rows_of_a_task, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      float* to = out + static_cast<std::size_t>(row) * n_columns;
      dequantize_row(stored.dtype, stored.data.data() + static_cast<std::size_t>(row) * bytes, to, n_columns);
      if (scales != nullptr) multiply_by_block_scales(*scales, row, std::span(to, n_columns));
    }
  });
  return values;
}

void load_weights(const WeightSet& weights, TensorFinder& find, std::initializer_list<std::string_view> left_out) {
  const at::NoGradGuard no_gradient;
  const auto is_left_out = [&](std::string_view role) {
    return std::find(left_out.begin(), left_out.end(), role) != left_out.end();
  };
  for (const Weight& weight : weights.all()) {
    std::string_view role;  // of `stored`
    std::vector<TensorView> stored;
    for (const WeightPart& part : weight.parts) {
      if (is_left_out(part.role)) continue;
      if (part.expert < 0) {
        stored = {find.get(part.role, part.layer)};
      } else if (part.role != role) {
        stored = find.experts(part.role, part.layer, weight.n_experts);
      }
      role = part.role;
      const TensorView& view = stored[part.expert < 0 ? 0 : static_cast<std::size_t>(part.expert)];
      const Tensor to = part_of(weight.values.detach(), part);
      to.copy_(read_tensor(find, view).reshape(to.sizes()));
    }
  }
}

}  // namespace moebox::train
