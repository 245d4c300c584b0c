#include "tensor/tensor_view.h"

namespace moebox {

std::string shape_text(const TensorView& tensor) {
  std::string text = "(";
  for (int i = 0; i < tensor.rank; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(tensor.shape[static_cast<std::size_t>(i)]);
  }
  return text + ")";
}

}  // namespace moebox
