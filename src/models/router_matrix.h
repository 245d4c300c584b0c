// Matrices that decide about experts: they are never rounded to FP8, and a NaN in one is found at load.
#pragma once

#include <string_view>

#include "spec/tensor_table.h"

namespace moebox {

/// A layer's tensor of `role`. Throws Error: unsupported where it is in FP8, invalid_file where it is not finite.
const TensorView& router_matrix(TensorFinder& find, std::string_view role, int layer);

}  // namespace moebox
