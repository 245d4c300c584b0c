#include "train/products.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "report/run/log_line.h"
#include "train/projection.h"

namespace moebox::train {
namespace {

/// Seconds of a product and of its gradients, the least of a few.
double seconds_of_a_product(at::ScalarType type) {
  constexpr std::int64_t n_rows = 1024, n_columns = 512;
  constexpr int n_tries = 5;
  using Clock = std::chrono::steady_clock;
  const Tensor x = at::ones({n_rows, n_columns}, type).set_requires_grad(true);
  const Tensor weight = at::ones({n_columns, n_columns}, at::kFloat).set_requires_grad(true);
  double least = 0;
  for (int i = 0; i <= n_tries; ++i) {  // the first one warms up
    const auto start = Clock::now();
    const Tensor y = project(x, weight);
    y.backward(at::ones_like(y));
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (i > 0) least = i == 1 ? seconds : std::min(least, seconds);
  }
  return least;
}

/// "bf16" or "f32", as the log's first line says; empty where there is no log yet.
std::string products_of_log(const std::filesystem::path& run) {
  std::ifstream log(run / report::log_name);
  std::string line;
  if (!std::getline(log, line)) return {};
  const auto head = nlohmann::json::parse(line, nullptr, false);
  return head.is_object() ? head.value("products", std::string()) : std::string();
}

}  // namespace

bool are_in_bf16(Products products, const std::filesystem::path& run, World& world) {
  if (products != Products::automatic) return products == Products::bf16;
  std::string chosen;
  if (world.is_first()) {
    chosen = products_of_log(run);
    if (chosen.empty())
      chosen = seconds_of_a_product(at::kBFloat16) < 0.9 * seconds_of_a_product(at::kFloat) ? "bf16" : "f32";
  }
  return spread_text(world, chosen) == "bf16";
}

}  // namespace moebox::train
