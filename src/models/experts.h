// Gated feed-forwards that many tokens share out among themselves: rows are sorted by expert, and each expert's weights
// are read once a batch. A dense feed-forward is the case of one expert that all tokens take.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "models/panel_units.h"
#include "models/step.h"

namespace moebox {

/// down(silu(gate x) * up x).
struct GatedMlp {
  PackedMatrix gate, up;  // (inner_size, hidden_size)
  PackedMatrix down;      // (hidden_size, inner_size)

  std::size_t bytes() const noexcept { return bytes_of(gate) + bytes_of(up) + bytes_of(down); }
  std::int64_t products() const noexcept { return products_of(gate) + products_of(up) + products_of(down); }
  ActivationTypes input_types() const { return {&gate, &up}; }
  ActivationTypes inner_types() const { return {&down}; }
};

/// Memory of one layer's experts at work, and the phases in which a team runs them. It's filled anew by each layer.
class ExpertBatch {
 public:
  struct Sizes {
    int hidden_size = 0;
    int max_tokens = 0;         // of one expert
    int max_rows = 0;           // of all experts together
    std::size_t max_inner = 0;  // floats: sum of rows x inner_size
    int max_groups = 0;
    int max_panels = 0;  // of all groups' matrices together
    ActivationTypes input_types, inner_types;
  };
  ExpertBatch(const Sizes& sizes, int n_threads);

  /// Bytes of the buffers.
  std::size_t size() const noexcept {
    std::size_t sum = total_size({&inner_, &outputs_, &scratch_});
    for (const Buffers* buffers : {&tokens_, &inputs_, &quantized_inner_})
      for (const AlignedBuffer& buffer : *buffers) sum += buffer.size();
    return sum;
  }

  /// Converts this member's part of the tokens of x (n_tokens, hidden_size), once for all groups that take them. A
  /// barrier must follow.
  void take_tokens(const Step& step, const AlignedBuffer& x, ActivationTypes types) noexcept;

  // One member builds the groups, and a barrier must follow.
  void clear() noexcept;
  /// An expert, the tokens that take it, and the first of the consecutive rows that their outputs get.
  void add_group(const GatedMlp& mlp, std::span<const int> tokens, int first_row) noexcept;
  void finish_groups(const TeamMember& member) noexcept;

  /// Computes all groups' outputs from the tokens; all members call it. Ends with a barrier.
  void run(const Step& step) noexcept;
  /// The output of a row (hidden_size); it stays until another group takes the row.
  const float* output(int row) const noexcept { return row_of(outputs_, row, sizes_.hidden_size); }

 private:
  struct Group {
    const GatedMlp* mlp;
    int first_row, n_rows;
    std::size_t inner_offset;                // floats in inner_
    std::array<std::size_t, 3> input_bytes;  // offsets in inputs_, by ActivationType
    std::array<std::size_t, 3> inner_bytes;  // the same in quantized_inner_
  };
  /// Buffers of activations in which every group has a matrix of its own.
  using Buffers = std::array<AlignedBuffer, 3>;

  void gather_inputs(const Step& step) noexcept;
  void multiply_gated(const Step& step) noexcept;
  void quantize_inner(const Step& step) noexcept;
  void multiply_down(const Step& step) noexcept;
  /// Calls each(group, first, last) for the rows of groups that are this member's part of all.
  template <class Each>
  void for_rows(const Step& step, Each&& each) noexcept;

  Sizes sizes_;
  std::vector<Group> groups_;
  PanelUnits gated_units_, down_units_;
  std::vector<int> row_tokens_;  // (max_rows)
  std::array<std::size_t, 3> used_inputs_{}, used_inner_{};
  std::size_t used_floats_ = 0;
  Buffers tokens_;  // (max_tokens), each converted by itself
  Buffers inputs_, quantized_inner_;
  AlignedBuffer inner_;    // (rows, inner_size of the row's expert)
  AlignedBuffer outputs_;  // (rows, hidden_size)
  int scratch_floats_;
  AlignedBuffer scratch_;  // (n_threads, 2, scratch_floats): gate and up of a unit
};

}  // namespace moebox
