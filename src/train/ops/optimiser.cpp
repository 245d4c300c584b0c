#include "train/ops/optimiser.h"

#include <cmath>

namespace moebox::train_ops {
namespace {

constexpr std::int64_t values_together = 1 << 14;  // the norm's sum depends on it

}  // namespace

double sum_squares(Compute& compute, const float* x, std::int64_t n) {
  ScratchUse scratch(compute.scratch);
  auto* parts = scratch.take<double>((n + values_together - 1) / values_together);
  for_each_run(compute.workers, n, values_together, [&](std::int64_t first, std::int64_t last, int) {
    parts[first / values_together] = compute.kernels.sum_squares(x + first, last - first);
  });
  double sum = 0;
  for (std::int64_t part = 0; part * values_together < n; ++part) sum += parts[part];
  return sum;
}

void adamw(Compute& compute, const AdamW& settings, std::int64_t n, float* weights, float* gradients, float* m,
           float* v, BFloat16* copy) {
  const auto step = static_cast<double>(settings.step);
  AdamWStep all{};
  all.keep = static_cast<float>(1 - settings.learning_rate * settings.weight_decay);
  all.step = static_cast<float>(settings.learning_rate / (1 - std::pow(settings.beta1, step)));
  all.root = static_cast<float>(1 / std::sqrt(1 - std::pow(settings.beta2, step)));
  all.beta1 = static_cast<float>(settings.beta1);
  all.beta2 = static_cast<float>(settings.beta2);
  all.rest1 = static_cast<float>(1 - settings.beta1);
  all.rest2 = static_cast<float>(1 - settings.beta2);
  all.epsilon = static_cast<float>(settings.epsilon);
  all.gradient_scale = static_cast<float>(settings.gradient_scale);
  all.zero_gradients = settings.zero_gradients;
  for_each_run(compute.workers, n, values_together, [&](std::int64_t first, std::int64_t last, int) {
    AdamWStep part = all;
    part.weights = weights + first;
    part.gradients = gradients + first;
    part.m = m + first;
    part.v = v + first;
    part.copy = copy != nullptr ? copy + first : nullptr;
    part.n = last - first;
    compute.kernels.adamw(part);
  });
}

}  // namespace moebox::train_ops
