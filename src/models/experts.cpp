#include "models/experts.h"

#include <algorithm>

#include "kernels/gather.h"

namespace moebox {
namespace {

constexpr ActivationType all_types[] = {ActivationType::f32, ActivationType::int8_block32,
                                        ActivationType::int8_block256};
// Small enough that members finish together, large enough that a unit is a stream worth starting.
constexpr int units_per_member = 8;
constexpr int least_scratch_floats = 64 << 10;

std::size_t slot(ActivationType type) noexcept { return static_cast<std::size_t>(type); }

/// Room for rows of `floats` values in all, however they are grouped: int8 takes one byte a value and at most one more
/// for scales and sums, and every group begins at a line of its own.
std::array<AlignedBuffer, 3> activation_buffers(ActivationTypes types, int n_rows, std::size_t floats) {
  std::array<AlignedBuffer, 3> buffers;
  for (const ActivationType type : all_types)
    if (types.contains(type))
      buffers[slot(type)] =
          AlignedBuffer(floats * (type == ActivationType::f32 ? 4 : 2) + static_cast<std::size_t>(n_rows) * 192);
  return buffers;
}

/// Bytes of a token that was converted by itself.
std::size_t token_bytes(ActivationType type, int columns) noexcept {
  return (activation_bytes(type, 1, columns) + 63) / 64 * 64;
}

std::array<AlignedBuffer, 3> token_buffers(const ExpertBatch::Sizes& sizes) {
  std::array<AlignedBuffer, 3> buffers;
  for (const ActivationType type : all_types)
    if (sizes.input_types.contains(type))
      buffers[slot(type)] =
          AlignedBuffer(token_bytes(type, sizes.hidden_size) * static_cast<std::size_t>(sizes.max_tokens));
  return buffers;
}

}  // namespace

ExpertBatch::ExpertBatch(const Sizes& sizes, int n_threads)
    : sizes_(sizes),
      gated_units_(sizes.max_panels, n_threads),
      down_units_(sizes.max_panels, n_threads),
      tokens_(token_buffers(sizes)),
      inputs_(
          activation_buffers(sizes.input_types, sizes.max_rows,
                             static_cast<std::size_t>(sizes.max_rows) * static_cast<std::size_t>(sizes.hidden_size))),
      quantized_inner_(activation_buffers(sizes.inner_types, sizes.max_rows, sizes.max_inner)),
      inner_(sizes.max_inner * sizeof(float)),
      outputs_(float_rows(sizes.max_rows, sizes.hidden_size)),
      scratch_floats_(std::max(sizes.max_tokens * panel_rows, least_scratch_floats)),
      scratch_(float_rows(n_threads, 2 * scratch_floats_)) {
  groups_.reserve(static_cast<std::size_t>(sizes.max_groups));
  row_tokens_.resize(static_cast<std::size_t>(sizes.max_rows));
}

void ExpertBatch::clear() noexcept {
  groups_.clear();
  gated_units_.clear();
  down_units_.clear();
  used_inputs_ = used_inner_ = {};
  used_floats_ = 0;
}

void ExpertBatch::add_group(const GatedMlp& mlp, std::span<const int> tokens, int first) noexcept {
  if (tokens.empty()) return;
  const int n = static_cast<int>(tokens.size());
  groups_.push_back({&mlp, first, n, used_floats_, used_inputs_, used_inner_});
  std::copy(tokens.begin(), tokens.end(), row_tokens_.begin() + first);
  used_floats_ += static_cast<std::size_t>(n) * static_cast<std::size_t>(mlp.gate.n_rows);
  for (const ActivationType type : all_types) {
    if (mlp.input_types().contains(type)) used_inputs_[slot(type)] += activation_bytes(type, n, mlp.gate.n_columns);
    if (mlp.inner_types().contains(type)) used_inner_[slot(type)] += activation_bytes(type, n, mlp.down.n_columns);
    // f32 rows of any width: the next group begins at a line again.
    used_inputs_[slot(type)] = (used_inputs_[slot(type)] + 63) / 64 * 64;
    used_inner_[slot(type)] = (used_inner_[slot(type)] + 63) / 64 * 64;
  }
}

void ExpertBatch::finish_groups(const TeamMember& member) noexcept {
  int gated_panels = 0, down_panels = 0;
  for (const Group& group : groups_) {
    gated_panels += group.mlp->gate.n_panels();
    down_panels += group.mlp->down.n_panels();
  }
  const int gated_at_once = std::max(1, gated_panels / (member.size * units_per_member));
  const int down_at_once = std::max(1, down_panels / (member.size * units_per_member));
  for (int g = 0; g < static_cast<int>(groups_.size()); ++g) {
    const Group& group = groups_[static_cast<std::size_t>(g)];
    const int fits = std::max(1, scratch_floats_ / (group.n_rows * panel_rows));
    gated_units_.add(member, g, group.mlp->gate.n_panels(), std::min(gated_at_once, fits));
    down_units_.add(member, g, group.mlp->down.n_panels(), down_at_once);
  }
}

template <class Each>
void ExpertBatch::for_rows(const Step& step, Each&& each) noexcept {
  int n_rows = 0;
  for (const Group& group : groups_) n_rows += group.n_rows;
  const auto part = step.member.part(n_rows);
  int begin = 0;  // of this group among all rows
  for (const Group& group : groups_) {
    const int first = std::clamp(part.first - begin, 0, group.n_rows),
              last = std::clamp(part.last - begin, 0, group.n_rows);
    if (first < last) each(group, first, last);
    begin += group.n_rows;
  }
}

void ExpertBatch::take_tokens(const Step& step, const AlignedBuffer& x, ActivationTypes types) noexcept {
  const auto part = step.member.part(step.n_tokens());
  const int columns = sizes_.hidden_size;
  for (const ActivationType type : all_types) {
    if (!types.contains(type)) continue;
    for (int t = part.first; t < part.last; ++t)
      step.kernels.quantize(type, row_of(x, t, columns), 0, 1, columns, 0, 1,
                            tokens_[slot(type)].bytes() + static_cast<std::size_t>(t) * token_bytes(type, columns));
  }
}

void ExpertBatch::gather_inputs(const Step& step) noexcept {
  for_rows(step, [&](const Group& group, int first, int last) {
    for (const ActivationType type : all_types)
      if (group.mlp->input_types().contains(type))
        gather_activations(type, {tokens_[slot(type)].bytes(), token_bytes(type, sizes_.hidden_size)},
                           row_tokens_.data() + group.first_row, {group.n_rows, sizes_.hidden_size, first, last},
                           inputs_[slot(type)].bytes() + group.input_bytes[slot(type)]);
  });
}

void ExpertBatch::multiply_gated(const Step& step) noexcept {
  float* gate = row_of(scratch_, step.member.index, 2 * scratch_floats_);
  float* up = gate + scratch_floats_;
  while (const PanelUnit* unit = gated_units_.take(step.member.node())) {
    const Group& group = groups_[static_cast<std::size_t>(unit->group)];
    const PackedMatrix gate_part = panel_range(group.mlp->gate, unit->first_panel, unit->n_panels);
    const PackedMatrix up_part = panel_range(group.mlp->up, unit->first_panel, unit->n_panels);
    const auto input = [&](const PackedMatrix& matrix) {
      const std::size_t type = slot(activation_type(matrix.dtype));
      return inputs_[type].bytes() + group.input_bytes[type];
    };
    const int width = gate_part.n_rows, inner_size = group.mlp->gate.n_rows;
    step.kernels.matmul(gate_part, input(gate_part), group.n_rows, 0, gate_part.n_panels(), gate, width);
    step.kernels.matmul(up_part, input(up_part), group.n_rows, 0, up_part.n_panels(), up, width);
    float* out = inner_.floats() + group.inner_offset + static_cast<std::ptrdiff_t>(unit->first_panel) * panel_rows;
    for (int i = 0; i < group.n_rows; ++i)
      step.kernels.swiglu(gate + static_cast<std::ptrdiff_t>(i) * width, up + static_cast<std::ptrdiff_t>(i) * width,
                          width, out + static_cast<std::ptrdiff_t>(i) * inner_size);
  }
}

void ExpertBatch::quantize_inner(const Step& step) noexcept {
  for_rows(step, [&](const Group& group, int first, int last) {
    const int columns = group.mlp->down.n_columns;
    const ActivationType type = activation_type(group.mlp->down.dtype);
    step.kernels.quantize(type, inner_.floats() + group.inner_offset, columns, group.n_rows, columns, first, last,
                          quantized_inner_[slot(type)].bytes() + group.inner_bytes[slot(type)]);
  });
}

void ExpertBatch::multiply_down(const Step& step) noexcept {
  while (const PanelUnit* unit = down_units_.take(step.member.node())) {
    const Group& group = groups_[static_cast<std::size_t>(unit->group)];
    const std::size_t type = slot(activation_type(group.mlp->down.dtype));
    step.kernels.matmul(group.mlp->down, quantized_inner_[type].bytes() + group.inner_bytes[type], group.n_rows,
                        unit->first_panel, unit->first_panel + unit->n_panels,
                        row_of(outputs_, group.first_row, sizes_.hidden_size), sizes_.hidden_size);
  }
}

void ExpertBatch::run(const Step& step) noexcept {
  gather_inputs(step);
  step.member.wait();
  multiply_gated(step);
  step.member.wait();
  quantize_inner(step);
  step.member.wait();
  multiply_down(step);
  step.member.wait();
}

}  // namespace moebox
