// Speed of the trainer's operators on the shapes of a small mixture-of-experts model, beside the machine's limits,
// which are measured in the same run: GFLOP/s for products, GB/s for what reads and writes memory.
//   train_ops_bench [--shape small|large] [--threads N] [--only NAME] [--seconds S]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "train/ops/attention.h"
#include "train/ops/compute.h"
#include "train/ops/cross_entropy.h"
#include "train/ops/experts.h"
#include "train/ops/linear.h"
#include "train/ops/norm.h"
#include "train/ops/optimiser.h"
#include "train/ops/rope.h"
#include "train/ops/swiglu.h"

namespace {

using namespace moebox;
using namespace moebox::train_ops;

struct Options {
  bool large = false;
  int threads = 0;
  std::string only;
  double seconds = 0.3;
};

/// Of the two models of docs/training-ops.md.
struct Shape {
  std::int64_t tokens, hidden, dense_width, expert_width, n_experts, top_k, heads, qk_dim, v_dim, q_rank, kv_rank,
      vocab;
};
constexpr Shape small{2048, 384, 1024, 256, 16, 2, 6, 64, 64, 192, 128, 8192};
constexpr Shape large{2048, 1024, 2816, 512, 32, 2, 16, 64, 64, 512, 256, 8192};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Bench {
 public:
  Bench(Compute& compute, const Options& options) : compute_(compute), options_(options) {
    limit_f32_ = limit(compute.kernels.probe_f32);
    limit_bf16_ = limit(compute.kernels.probe_bf16);
    std::printf("%s, %d threads: limits %.0f GFLOP/s f32, %.0f bf16\n", std::string(name(compute.kernels.isa)).c_str(),
                compute.workers.size(), limit_f32_, limit_bf16_);
  }

  /// The median of runs within the time.
  double seconds(const std::function<void()>& work) {
    work();
    std::vector<double> times;
    const double begin = now();
    do {
      const double start = now();
      work();
      times.push_back(now() - start);
    } while (now() - begin < options_.seconds || times.size() < 3);
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return times[times.size() / 2];
  }

  template <class T>
  void product(const std::string& what, double multiply_adds, const std::function<void()>& work) {
    if (what.find(options_.only) == std::string::npos) return;
    const double limit = sizeof(T) == 4 ? limit_f32_ : limit_bf16_, time = seconds(work);
    const double speed = 2e-9 * multiply_adds / time;
    std::printf("  %-44s %s %9.3f ms %8.1f GFLOP/s %5.1f %%\n", what.c_str(), sizeof(T) == 4 ? "f32 " : "bf16",
                1e3 * time, speed, 100 * speed / limit);
  }

  void memory(const std::string& what, const char* type, double bytes, const std::function<void()>& work) {
    if (what.find(options_.only) == std::string::npos) return;
    const double time = seconds(work);
    std::printf("  %-44s %s %9.3f ms %8.1f GB/s\n", what.c_str(), type, 1e3 * time, 1e-9 * bytes / time);
  }

 private:
  double limit(std::int64_t (*probe)(int)) {
    double best = 0;
    for (int i = 0; i < 5; ++i) {
      std::atomic<std::int64_t> done{0};
      const double start = now();
      for_each_task(compute_.workers, 16L * compute_.workers.size(), [&](std::int64_t, int) { done += probe(100000); });
      best = std::max(best, 1e-9 * static_cast<double>(done) / (now() - start));
    }
    return best;
  }

  Compute& compute_;
  const Options& options_;
  double limit_f32_, limit_bf16_;
};

template <class T>
std::vector<T> values(std::int64_t n, float size = 1) {
  std::vector<T> all(static_cast<std::size_t>(n));
  std::uint32_t state = 12345;
  for (T& v : all) {
    state = state * 1664525 + 1013904223;
    const float x = size * (static_cast<float>(state >> 8) * 0x1p-23f - 1);
    if constexpr (sizeof(T) == 4)
      v = x;
    else
      v = to_bfloat16(x);
  }
  return all;
}

template <class T>
void linear(Bench& bench, Compute& compute, std::int64_t m, std::int64_t n, std::int64_t k) {
  const std::string shape = std::to_string(m) + " x " + std::to_string(k) + " -> " + std::to_string(n);
  const auto x = values<T>(m * k), w = values<T>(n * k), dy = values<T>(m * n);
  std::vector<T> y(dy.size()), dx(x.size());
  std::vector<float> dw(w.size());
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const Rows<const T> x_rows(x.data(), m, k), w_rows(w.data(), n, k), dy_rows(dy.data(), m, n);
  bench.product<T>("linear forward " + shape, work,
                   [&] { linear_forward(compute, x_rows, w_rows, Rows<T>(y.data(), m, n)); });
  bench.product<T>("linear dx " + shape, work,
                   [&] { linear_input_gradient(compute, dy_rows, w_rows, Rows<T>(dx.data(), m, k)); });
  bench.product<T>("linear dw " + shape, work,
                   [&] { linear_weight_gradient(compute, dy_rows, x_rows, dw.data(), false); });
}

// `skew`: half of the rows go to one expert.
template <class T>
void experts(Bench& bench, Compute& compute, const Shape& s, bool skew) {
  const std::int64_t n_slots = s.tokens * s.top_k;
  std::vector<std::int64_t> ids;
  for (std::int64_t slot = 0; slot < n_slots; ++slot)
    ids.push_back(skew && slot % 2 == 0 ? 0 : slot * 2654435761 % 4294967291 % s.n_experts);
  const ExpertPlan plan = plan_experts(ids.data(), s.tokens, s.top_k, s.n_experts);
  const auto x = values<T>(s.tokens * s.hidden), d_out = values<T>(s.tokens * s.hidden);
  const auto gate_up = values<T>(s.n_experts * 2 * s.expert_width * s.hidden, 0.05f);
  const auto down = values<T>(s.n_experts * s.hidden * s.expert_width, 0.05f);
  const auto weights = values<float>(n_slots);
  const ExpertWeights<T> matrices{s.hidden, s.expert_width, gate_up.data(), down.data()};
  std::vector<T> saved(static_cast<std::size_t>(n_slots * 2 * s.expert_width)), out(x.size()), dx(x.size());
  std::vector<float> d_weights(weights.size()), d_gate_up(gate_up.size()), d_down(down.size());
  const Rows<const T> x_rows(x.data(), s.tokens, s.hidden), d_rows(d_out.data(), s.tokens, s.hidden);
  const double work = 3.0 * static_cast<double>(n_slots * s.hidden * s.expert_width);
  const std::string what = skew ? "half of the rows to one" : "evenly";
  bench.product<T>("experts forward, " + what, work, [&] {
    experts_forward(compute, plan, matrices, x_rows, weights.data(), saved.data(),
                    Rows<T>(out.data(), s.tokens, s.hidden));
  });
  const ExpertGradients<T> gradients{
      {dx.data(), s.tokens, s.hidden}, d_weights.data(), d_gate_up.data(), d_down.data(), false};
  bench.product<T>("experts backward, " + what, 2 * work, [&] {
    experts_backward(compute, plan, matrices, x_rows, weights.data(), saved.data(), d_rows, gradients);
  });
}

// Multiply-adds of the visible pairs alone: what a block computes beyond these counts as lost.
template <class T>
void attention(Bench& bench, Compute& compute, const Shape& s, std::int64_t length) {
  const std::int64_t n = s.tokens, h = s.heads;
  const auto q = values<T>(n * h * s.qk_dim), k = values<T>(n * h * s.qk_dim), v = values<T>(n * h * s.v_dim), d = v;
  std::vector<T> out(v.size()), dq(q.size()), dk(k.size()), dv(v.size());
  std::vector<float> log_sum_exp(static_cast<std::size_t>(n * h));
  const auto first = first_visible(nullptr, n / length, length);
  const Attention<T> operands{
      {q.data(), n, h, s.qk_dim}, {k.data(), n, h, s.qk_dim}, {v.data(), n, h, s.v_dim}, first.data(), 0.125f};
  const Heads<T> out_heads(out.data(), n, h, s.v_dim);
  const double pairs = static_cast<double>(n * h) * static_cast<double>(length + 1) / 2;
  const std::string what = ", documents of " + std::to_string(length);
  bench.product<T>("attention forward" + what, pairs * static_cast<double>(s.qk_dim + s.v_dim),
                   [&] { attention_forward(compute, operands, out_heads, log_sum_exp.data()); });
  bench.product<T>("attention backward" + what, pairs * static_cast<double>(3 * s.qk_dim + 2 * s.v_dim), [&] {
    attention_backward<T>(compute, operands, out_heads, log_sum_exp.data(), {d.data(), n, h, s.v_dim},
                          {{dq.data(), n, h, s.qk_dim}, {dk.data(), n, h, s.qk_dim}, {dv.data(), n, h, s.v_dim}});
  });
}

template <class T>
void loss(Bench& bench, Compute& compute, const Shape& s) {
  const auto rows = values<T>(s.tokens * s.hidden), head = values<T>(s.vocab * s.hidden, 0.05f);
  std::vector<std::int64_t> targets;
  for (std::int64_t i = 0; i < s.tokens; ++i) targets.push_back(i * 7919 % s.vocab);
  std::vector<T> d_rows(rows.size());
  std::vector<float> d_head(head.size());
  const CrossEntropy<T> operands{{rows.data(), s.tokens, s.hidden}, {head.data(), s.vocab, s.hidden}, targets.data()};
  bench.product<T>(
      "head and cross entropy, both passes", 3.0 * static_cast<double>(s.tokens * s.hidden * s.vocab),
      [&] { cross_entropy(compute, operands, Rows<T>(d_rows.data(), s.tokens, s.hidden), d_head.data(), false); });
}

template <class T>
void row_by_row(Bench& bench, Compute& compute, const Shape& s) {
  const char* type = sizeof(T) == 4 ? "f32 " : "bf16";
  const std::int64_t n = s.tokens, hidden = s.hidden, width = s.dense_width;
  const auto size = static_cast<double>(sizeof(T));
  const auto x = values<float>(n * hidden), weight = values<float>(hidden);
  const auto dy = values<T>(n * hidden);
  std::vector<T> y(dy.size());
  std::vector<float> dx(x.size()), rstd(static_cast<std::size_t>(n)), dw(weight.size());
  const Rows<const float> x_rows(x.data(), n, hidden);
  bench.memory("norm forward", type, static_cast<double>(n * hidden) * (4 + size), [&] {
    rms_norm_forward(compute, x_rows, weight.data(), 1e-6f, Rows<T>(y.data(), n, hidden), rstd.data());
  });
  bench.memory("norm backward", type, static_cast<double>(n * hidden) * (8 + size), [&] {
    rms_norm_backward(compute, Rows<const T>(dy.data(), n, hidden), x_rows, weight.data(), rstd.data(),
                      Rows<float>(dx.data(), n, hidden), dw.data(), false);
  });
  const auto gate_up = values<T>(n * 2 * width), d_out = values<T>(n * width);
  std::vector<T> out(d_out.size()), d_gate_up(gate_up.size());
  const Rows<const T> gate_up_rows(gate_up.data(), n, 2 * width);
  bench.memory("swiglu forward", type, static_cast<double>(n * width) * 3 * size,
               [&] { swiglu_forward(compute, gate_up_rows, Rows<T>(out.data(), n, width)); });
  bench.memory("swiglu backward", type, static_cast<double>(n * width) * 5 * size, [&] {
    swiglu_backward(compute, Rows<const T>(d_out.data(), n, width), gate_up_rows,
                    Rows<T>(d_gate_up.data(), n, 2 * width));
  });
  const auto q = values<T>(n * s.heads * s.qk_dim);
  std::vector<T> turned(q.size());
  const auto angles = values<float>(256 * 16);
  for (const bool interleaved : {true, false}) {
    bench.memory(interleaved ? "rope of neighbours" : "rope of halves", type, static_cast<double>(q.size()) * 2 * size,
                 [&] {
                   rope<T>(compute, {angles.data(), angles.data(), 256, 16, interleaved}, nullptr, false,
                           {q.data(), n, s.heads, s.qk_dim}, {turned.data(), n, s.heads, s.qk_dim});
                 });
  }
}

void optimiser(Bench& bench, Compute& compute) {
  const std::int64_t n = 35'000'000;
  auto weights = values<float>(n), gradients = values<float>(n), m = values<float>(n), v = values<float>(n);
  for (float& x : v) x = x * x;
  std::vector<BFloat16> copy(weights.size());
  bench.memory("adamw, 35 million weights, copy in bf16", "f32 ", static_cast<double>(n) * 30,
               [&] { adamw(compute, {1e-3}, n, weights.data(), gradients.data(), m.data(), v.data(), copy.data()); });
  bench.memory("sum of squares", "f32 ", static_cast<double>(n) * 4,
               [&] { sum_squares(compute, gradients.data(), n); });
}

template <class T>
void all(Bench& bench, Compute& compute, const Shape& s) {
  linear<T>(bench, compute, s.tokens, s.hidden, s.heads * s.v_dim);
  linear<T>(bench, compute, s.tokens, 2 * s.dense_width, s.hidden);
  linear<T>(bench, compute, s.tokens, s.q_rank + s.kv_rank + 32, s.hidden);
  experts<T>(bench, compute, s, false);
  experts<T>(bench, compute, s, true);
  attention<T>(bench, compute, s, 256);
  attention<T>(bench, compute, s, 2048);
  loss<T>(bench, compute, s);
  row_by_row<T>(bench, compute, s);
}

}  // namespace

int main(int n_arguments, char** arguments) {
  Options options;
  for (int i = 1; i + 1 < n_arguments; i += 2) {
    const std::string_view option = arguments[i], value = arguments[i + 1];
    if (option == "--shape") options.large = value == "large";
    if (option == "--threads") options.threads = std::atoi(arguments[i + 1]);
    if (option == "--only") options.only = value;
    if (option == "--seconds") options.seconds = std::atof(arguments[i + 1]);
  }
  TeamWorkers workers(options.threads);
  Compute compute(workers);
  Bench bench(compute, options);
  const Shape& shape = options.large ? large : small;
  all<float>(bench, compute, shape);
  all<BFloat16>(bench, compute, shape);
  optimiser(bench, compute);
  return 0;
}
