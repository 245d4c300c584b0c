// Where each of a model's matrices lies among its packed weights: the same in memory and in a pack file. It moves no
// bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/stored_matrix.h"

namespace moebox {

struct PlannedMatrix {
  StoredMatrix stored;
  PackedMatrix* target = nullptr;
  std::size_t offset = 0;  // a multiple of 64
};

/// Neighbouring matrices that are written, read and checked together: one routed expert, or a few others.
struct WeightSection {
  std::size_t offset = 0;  // a multiple of section_alignment
  std::size_t bytes = 0;   // without what follows until the next section
  std::size_t first_matrix = 0, n_matrices = 0;
  std::size_t first_block = 0;  // of checksum_block_bytes, counted over all sections
  int layer = -1, expert = -1;  // of a routed expert; -1: of no expert

  bool is_expert() const noexcept { return expert >= 0; }
};

inline constexpr std::size_t section_alignment = 4096;  // what direct reading and mapping ask for
inline constexpr std::size_t checksum_block_bytes = std::size_t{1} << 20;

/// Checksum blocks of so many bytes.
inline constexpr std::size_t n_checksum_blocks(std::size_t bytes) noexcept {
  return (bytes + checksum_block_bytes - 1) / checksum_block_bytes;
}

/// Collects matrices in the order in which they are added: the order of a forward pass.
class WeightPlan {
 public:
  /// Fills in `target` but for its data; it must stay where it is as long as the plan is used. Throws
  /// Error(unsupported) for FP8 without scales.
  void add(const StoredMatrix& stored, PackedMatrix* target);
  /// The matrices from here to end_expert() are those of a routed expert: a section of their own.
  void begin_expert(int layer, int expert);
  void end_expert() noexcept { in_expert_ = false; }

  std::span<const PlannedMatrix> matrices() const noexcept { return matrices_; }
  std::span<const PlannedMatrix> matrices(const WeightSection& section) const noexcept {
    return matrices().subspan(section.first_matrix, section.n_matrices);
  }
  std::span<const WeightSection> sections() const noexcept { return sections_; }
  std::size_t n_blocks() const noexcept;
  /// Of all sections, with room behind them: kernels may prefetch past the end.
  std::size_t total_bytes() const noexcept { return end_ + section_alignment * 2; }
  /// Of names, shapes, types and places.
  std::uint64_t digest() const;

 private:
  std::vector<PlannedMatrix> matrices_;
  std::vector<WeightSection> sections_;
  std::size_t end_ = 0;  // a multiple of section_alignment
  bool in_expert_ = false;
};

}  // namespace moebox
