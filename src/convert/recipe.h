// Which tensor gets which type: the recipes that the names Q4_K_M, Q8_0 and so on stand for in GGUF files.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "convert/plan.h"
#include "tensor/dtype.h"

namespace moebox {

struct Recipe {
  /// "more": layers where an eighth at both ends and every third between get more bits.
  enum class Mix { none, small, medium, large, experts_only };

  std::string_view name;
  std::uint32_t file_type;  // general.file_type, GGUF's number for the recipe
  DType base;
  Mix mix = Mix::none;
};

std::span<const Recipe> recipes() noexcept;
/// By name, in any case. Throws Error(invalid_argument) with the known names.
const Recipe& find_recipe(std::string_view name);

/// The type of a tensor of the model. Norms, biases and routers are F32; a row that is not a whole number of blocks
/// takes the next type that it is whole in.
DType choose_type(const Recipe& recipe, const ModelShape& model, const PlannedTensor& tensor, bool has_output);

}  // namespace moebox
