#include "train/initial_weights.h"

#include <cmath>
#include <numbers>

#include "base/xxh64.h"

namespace moebox::train {
namespace {

/// The counter's 64 bits, mixed (the finaliser of SplitMix64, Steele, Lea and Flood 2014).
std::uint64_t mixed(std::uint64_t counter) {
  std::uint64_t x = counter * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// In (0, 1]: a logarithm is taken of it.
double uniform(std::uint64_t key, std::uint64_t counter) {
  return (static_cast<double>(mixed(key + counter) >> 11) + 1.0) * 0x1p-53;
}

/// Two normal numbers of two uniform ones (Box and Muller 1958).
void draw_normal(std::uint64_t key, double standard_deviation, float* out, std::int64_t n) {
  constexpr std::int64_t pairs_of_a_task = 1 << 12;
  at::parallel_for(0, (n + 1) / 2, pairs_of_a_task, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t pair = first; pair < last; ++pair) {
      const auto counter = static_cast<std::uint64_t>(2 * pair);
      const double radius = standard_deviation * std::sqrt(-2.0 * std::log(uniform(key, counter)));
      const double angle = 2.0 * std::numbers::pi * uniform(key, counter + 1);
      out[2 * pair] = static_cast<float>(radius * std::cos(angle));
      if (2 * pair + 1 < n) out[2 * pair + 1] = static_cast<float>(radius * std::sin(angle));
    }
  });
}

}  // namespace

void draw_weights(const WeightSet& weights, std::uint64_t seed, double standard_deviation) {
  const at::NoGradGuard no_gradient;
  for (const Weight& weight : weights.all()) {
    if (weight.kind != WeightKind::matrix) {
      weight.values.detach().fill_(weight.kind == WeightKind::norm ? 1.0 : 0.0);
      continue;
    }
    for (const WeightPart& part : weight.parts)
      part_of(weight.values.detach(), part).copy_(drawn_tensor(part.name, part.shape, seed, standard_deviation));
  }
}

Tensor drawn_tensor(const std::string& name, const std::vector<std::int64_t>& shape, std::uint64_t seed,
                    double standard_deviation) {
  const std::uint64_t key = xxh64(std::as_bytes(std::span(name)), seed);
  Tensor values = at::empty(shape, at::kFloat);
  draw_normal(key, standard_deviation, values.mutable_data_ptr<float>(), values.numel());
  return values;
}

}  // namespace moebox::train
