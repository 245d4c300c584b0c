#include "train/ops/experts.h"

#include <cstring>
#include <limits>
#include <numeric>

#include "train/ops/check.h"
#include "train/ops/product.h"

namespace moebox::train_ops {

ExpertPlan plan_experts(const std::int64_t* ids, std::int64_t n_tokens, std::int64_t top_k, std::int64_t n_experts) {
  ExpertPlan plan;
  plan.n_tokens = n_tokens;
  plan.n_slots = n_tokens * top_k;
  if (plan.n_slots > std::numeric_limits<std::int32_t>::max())
    throw Error(ErrorKind::invalid_argument, std::to_string(plan.n_slots) + " slots are more than 2^31 - 1", "experts",
                "cut the batch");
  plan.first_row.assign(static_cast<std::size_t>(n_experts) + 1, 0);
  plan.first_of_token.assign(static_cast<std::size_t>(n_tokens) + 1, 0);
  for (std::int64_t slot = 0; slot < plan.n_slots; ++slot) {
    const std::int64_t id = ids[slot];
    if (id < -1 || id >= n_experts)
      throw Error(ErrorKind::invalid_argument,
                  "token " + std::to_string(slot / top_k) + " chose expert " + std::to_string(id) + " of " +
                      std::to_string(n_experts),
                  "experts");
    if (id < 0) continue;
    ++plan.first_row[static_cast<std::size_t>(id) + 1];
    ++plan.first_of_token[static_cast<std::size_t>(slot / top_k) + 1];
  }
  std::partial_sum(plan.first_row.begin(), plan.first_row.end(), plan.first_row.begin());
  std::partial_sum(plan.first_of_token.begin(), plan.first_of_token.end(), plan.first_of_token.begin());

  const auto n_rows = static_cast<std::size_t>(plan.first_row.back());
  plan.token.resize(n_rows);
  plan.slot.resize(n_rows);
  plan.rows_of_token.resize(n_rows);
  std::vector<std::int64_t> next(plan.first_row.begin(), plan.first_row.end());
  for (std::int64_t slot = 0; slot < plan.n_slots; ++slot) {
    if (ids[slot] < 0) continue;
    const auto row = static_cast<std::size_t>(next[static_cast<std::size_t>(ids[slot])]++);
    plan.token[row] = static_cast<std::int32_t>(slot / top_k);
    plan.slot[row] = static_cast<std::int32_t>(slot);
  }
  next.assign(plan.first_of_token.begin(), plan.first_of_token.end());
  for (std::size_t row = 0; row < n_rows; ++row) {
    const auto token = static_cast<std::size_t>(plan.token[row]);
    plan.rows_of_token[static_cast<std::size_t>(next[token]++)] = static_cast<std::int32_t>(row);
  }
  return plan;
}

namespace {

constexpr std::int64_t rows_together = 64;  // of what is done row by row

template <class T>
Rows<const T> gather(Compute& compute, ScratchUse& scratch, const ExpertPlan& plan, Rows<const T> x) {
  const std::int64_t n = x.n_columns;
  T* rows = scratch.take<T>(plan.n_rows() * n);
  for_each_run(compute.workers, plan.n_rows(), rows_together, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row)
      std::memcpy(rows + row * n, x.row(plan.token[static_cast<std::size_t>(row)]),
                  static_cast<std::size_t>(n) * sizeof(T));
  });
  return {rows, plan.n_rows(), n};
}

float* weights_of_rows(ScratchUse& scratch, const ExpertPlan& plan, const float* weights) {
  auto* of_rows = scratch.take<float>(plan.n_rows());
  for (std::size_t row = 0; row < plan.slot.size(); ++row) of_rows[row] = weights[plan.slot[row]];
  return of_rows;
}

/// Calls tile(worker, chunk, panel) for all chunks of rows and panels of `columns`.
template <class T, class Tile>
void for_each_tile(Compute& compute, const ExpertPlan& plan, const TileBuffers<T>& buffers, std::int64_t columns,
                   Tile&& tile) {
  const std::int64_t n_panels = buffers.n_panels(columns);
  const std::vector<RowChunk> chunks = cut_rows(plan.first_row, n_panels, compute.workers.size());
  for_each_task(compute.workers, static_cast<std::int64_t>(chunks.size()) * n_panels,
                [&](std::int64_t task, int worker) {
                  tile(worker, chunks[static_cast<std::size_t>(task / n_panels)], task % n_panels);
                });
}

/// out (n_rows, columns) in float = rows of x times each expert's matrix: `right` is that of expert 0, the next one is
/// `distance` elements behind.
template <class T, class Out>
void multiply_rows(Compute& compute, const ExpertPlan& plan, Rows<const T> x, Right<T> right, std::int64_t distance,
                   std::int64_t columns, Out* out) {
  ScratchUse scratch(compute.scratch);
  const Left left = as_units(compute, scratch, x);
  const TileBuffers<T> buffers(compute, scratch, x.n_columns);
  for_each_tile(compute, plan, buffers, columns, [&](int worker, const RowChunk& chunk, std::int64_t panel) {
    const std::int64_t column = panel * buffers.panel_columns(), at = chunk.first_row * columns + column;
    TileOut<T> tile{nullptr, nullptr, columns};
    if constexpr (sizeof(Out) == 4)
      tile.f32 = out + at;
    else
      tile.rounded = out + at;
    buffers.multiply(worker, left.units + chunk.first_row * left.row, left.row, chunk.n_rows,
                     {right.data + chunk.group * distance, right.stride, right.columns_are_rows}, column,
                     buffers.columns_of(panel, columns), x.n_columns, tile);
  });
}

/// out[token] = the sum of its rows, by ascending expert.
template <class T>
void combine(Compute& compute, const ExpertPlan& plan, const float* rows, Rows<T> out) {
  const RowKernels<T>& kernels = compute.kernels.rows<T>();
  for_each_run(compute.workers, plan.n_tokens, rows_together, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t token = first; token < last; ++token) {
      const std::int64_t begin = plan.first_of_token[static_cast<std::size_t>(token)];
      const std::int64_t end = plan.first_of_token[static_cast<std::size_t>(token) + 1];
      kernels.sum_rows(rows, out.n_columns, plan.rows_of_token.data() + begin, static_cast<int>(end - begin),
                       out.n_columns, out.row(token));
    }
  });
}

template <class T>
void check_shapes(const ExpertPlan& plan, const ExpertWeights<T>& experts, Rows<const T> x, Rows<const T> out) {
  expect_equal(x.n_rows, plan.n_tokens, "tokens of x and of the plan");
  expect_equal(x.n_columns, experts.hidden_size, "columns of x and of the experts");
  expect_equal(out.n_rows, plan.n_tokens, "tokens of the output and of the plan");
  expect_equal(out.n_columns, experts.hidden_size, "columns of the output and of the experts");
}

}  // namespace

template <class T>
void experts_forward(Compute& compute, const ExpertPlan& plan, const ExpertWeights<T>& experts, Rows<const T> x,
                     const float* weights, T* gate_up_saved, Rows<T> out) {
  check_shapes<T>(plan, experts, x, out);
  const std::int64_t hidden = experts.hidden_size, width = experts.width;
  ScratchUse scratch(compute.scratch);
  const float* weight = weights_of_rows(scratch, plan, weights);
  T* inner = scratch.take<T>(plan.n_rows() * width);
  {
    ScratchUse only_here(compute.scratch);
    const Left left = as_units(compute, only_here, gather(compute, only_here, plan, x));
    const TileBuffers<T> buffers(compute, only_here, hidden);
    const RowKernels<T>& kernels = compute.kernels.rows<T>();
    for_each_tile(compute, plan, buffers, width, [&](int worker, const RowChunk& chunk, std::int64_t panel) {
      const std::int64_t column = panel * buffers.panel_columns();
      const int columns = buffers.columns_of(panel, width);
      const Right<T> right{experts.gate_up + chunk.group * 2 * width * hidden, hidden, true};
      const Unit* rows = left.units + chunk.first_row * left.row;
      T* gate = gate_up_saved + chunk.first_row * 2 * width + column;
      T* up = gate + width;
      buffers.multiply(worker, rows, left.row, chunk.n_rows, right, column, columns, hidden, tile_out(gate, 2 * width));
      buffers.multiply(worker, rows, left.row, chunk.n_rows, right, width + column, columns, hidden,
                       tile_out(up, 2 * width));
      kernels.swiglu({gate, up, 2 * width, weight + chunk.first_row, inner + chunk.first_row * width + column, width,
                      chunk.n_rows, columns});
    });
  }
  auto* results = scratch.take<float>(plan.n_rows() * hidden);
  multiply_rows<T>(compute, plan, {inner, plan.n_rows(), width}, {experts.down, width, true}, hidden * width, hidden,
                   results);
  combine(compute, plan, results, out);
}

template <class T>
void experts_backward(Compute& compute, const ExpertPlan& plan, const ExpertWeights<T>& experts, Rows<const T> x,
                      const float* weights, const T* gate_up_saved, Rows<const T> d_out,
                      const ExpertGradients<T>& gradients) {
  check_shapes<T>(plan, experts, x, d_out);
  check_shapes<T>(plan, experts, x, gradients.dx);
  const std::int64_t hidden = experts.hidden_size, width = experts.width, n_rows = plan.n_rows();
  ScratchUse scratch(compute.scratch);
  const float* weight = weights_of_rows(scratch, plan, weights);
  const Rows<const T> d_rows = gather(compute, scratch, plan, d_out);
  T* weighted = scratch.take<T>(n_rows * width);  // w * silu(gate) * up
  T* d_gate_up = scratch.take<T>(n_rows * 2 * width);
  {
    ScratchUse only_here(compute.scratch);
    T* d_inner = only_here.take<T>(n_rows * width);  // of the activation before its weight
    auto* d_weight = only_here.take<float>(n_rows);
    multiply_rows<T>(compute, plan, d_rows, {experts.down, width, false}, hidden * width, width, d_inner);
    const RowKernels<T>& kernels = compute.kernels.rows<T>();
    for_each_run(compute.workers, n_rows, rows_together, [&](std::int64_t first, std::int64_t last, int) {
      const T* gate = gate_up_saved + first * 2 * width;
      T* d_gate = d_gate_up + first * 2 * width;
      kernels.swiglu_backward({d_inner + first * width, gate, gate + width, width, 2 * width, weight + first,
                               weighted + first * width, d_weight + first, d_gate, d_gate + width, 2 * width,
                               static_cast<int>(last - first), static_cast<int>(width)});
    });
    std::fill_n(gradients.weights, plan.n_slots, 0.0f);
    for (std::size_t row = 0; row < plan.slot.size(); ++row) gradients.weights[plan.slot[row]] = d_weight[row];
  }
  {
    ScratchUse only_here(compute.scratch);
    auto* dx_rows = only_here.take<float>(n_rows * hidden);
    multiply_rows<T>(compute, plan, {d_gate_up, n_rows, 2 * width}, {experts.gate_up, hidden, false},
                     2 * width * hidden, hidden, dx_rows);
    combine(compute, plan, dx_rows, gradients.dx);
  }
  multiply_transposed<T>(compute, plan.first_row, {d_rows, {weighted, n_rows, width}, gradients.down, gradients.add});
  ScratchUse only_here(compute.scratch);
  multiply_transposed<T>(
      compute, plan.first_row,
      {{d_gate_up, n_rows, 2 * width}, gather(compute, only_here, plan, x), gradients.gate_up, gradients.add});
}

#define MOEBOX_EXPERTS(T)                                                                                              \
  template void experts_forward(Compute&, const ExpertPlan&, const ExpertWeights<T>&, Rows<const T>, const float*, T*, \
                                Rows<T>);                                                                              \
  template void experts_backward(Compute&, const ExpertPlan&, const ExpertWeights<T>&, Rows<const T>, const float*,    \
                                 const T*, Rows<const T>, const ExpertGradients<T>&);
MOEBOX_EXPERTS(float)
MOEBOX_EXPERTS(BFloat16)
#undef MOEBOX_EXPERTS

}  // namespace moebox::train_ops
