#include "models/router_matrix.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/weights.h"

namespace moebox {

const TensorView& router_matrix(TensorFinder& find, std::string_view role, int layer) {
  const TensorView& matrix = find.get(role, layer);
  if (matrix.dtype == DType::f8_e4m3)
    throw Error(ErrorKind::unsupported, "a router in FP8 is not implemented", "tensor " + matrix.name);
  const std::vector<float> values = to_floats(&matrix);
  if (!std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }))
    throw Error(ErrorKind::invalid_file, "a router must have finite weights, found a NaN or an infinity",
                "tensor " + matrix.name);
  return matrix;
}

}  // namespace moebox
