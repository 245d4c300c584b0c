// Checks that both containers share: a tensor's size, and how tensors lie in the data section.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor_view.h"

namespace moebox {

/// More tensors in one file than any real model has: a limit on what a hostile header can cost.
inline constexpr std::size_t max_tensors_per_file = 100'000;

/// What to do with a file that contradicts itself.
inline constexpr const char* damaged_file_advice =
    "the file is damaged or hostile: fetch it again from a source you trust";

/// Bytes of a tensor of `view`'s type and shape. Throws Error(invalid_file) when a dimension is not positive, a row is
/// not a whole number of blocks, or the number of elements or bytes overflows.
std::size_t tensor_bytes(const TensorView& view, const std::string& where);

/// Where a tensor lies in the data section.
struct TensorExtent {
  std::size_t tensor;  // index in the list of tensors
  std::size_t begin;
  std::size_t end;
};

/// Sorts by position and throws Error(invalid_file) when two tensors overlap, when a tensor ends behind `data_bytes`,
/// or, where `gapless`, when they do not cover all of the data.
void check_layout(std::vector<TensorExtent>& extents, std::span<const TensorView> tensors, std::size_t data_bytes,
                  bool gapless, const std::string& where);

/// Throws Error(invalid_file) when two tensors have one name.
void check_unique_names(std::span<const TensorView> tensors, const std::string& where);

}  // namespace moebox
