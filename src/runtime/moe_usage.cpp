#include "runtime/request.h"

namespace moebox {

std::int64_t MoeUsage::n_choices() const noexcept {
  std::int64_t sum = 0;
  for (const std::int64_t count : histogram) sum += count;
  return sum;
}

std::int64_t MoeUsage::n_experts() const noexcept {
  std::int64_t sum = 0;
  for (std::size_t k = 0; k < histogram.size(); ++k) sum += static_cast<std::int64_t>(k) * histogram[k];
  return sum;
}

}  // namespace moebox
