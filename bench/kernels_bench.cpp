// Measures the kernels beside the machine's limits, in turns: kernels_bench [--isa NAME] [--threads N] [--rounds N]
// [WHAT ...] WHAT: limits, gemv, gemm, attention, vector, pack; all by default, or a type's name ("Q4_K") for its
// products only. Each figure is the best of several rounds, and its share is of the best limit that the same rounds
// saw.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "kernels/limits.h"
#include "tensor/dtype.h"

namespace moebox {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Buffer {
 public:
  explicit Buffer(std::size_t size) : data_(static_cast<std::byte*>(operator new(size + 64, std::align_val_t{4096}))) {
    std::memset(data_, 0x11, size + 64);
  }
  ~Buffer() { operator delete(data_, std::align_val_t{4096}); }
  Buffer(const Buffer&) = delete;
  std::byte* data() const { return data_; }
  float* floats() const { return reinterpret_cast<float*>(data_); }

 private:
  std::byte* data_;
};

struct Options {
  Isa isa = kernel_table().isa;
  int n_threads = 1, rounds = 7;
  std::vector<std::string> what;

  bool wants(std::string_view name) const {
    return what.empty() || std::find(what.begin(), what.end(), name) != what.end();
  }
};

class Bench {
 public:
  Bench(const Options& options)
      : options_(options), kernels_(kernel_table(options.isa)), team_(options.n_threads), meter_(kernels_) {}

  void run() {
    fmt::print("{} on {} thread(s), best of {} rounds\n", name(options_.isa), team_.size(), options_.rounds);
    if (options_.wants("limits")) limits();
    for (const DType dtype :
         {DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1, DType::q8_0, DType::iq4_nl, DType::mxfp4, DType::q2_k,
          DType::q3_k, DType::q4_k, DType::q5_k, DType::q6_k, DType::bf16, DType::f16, DType::f32}) {
      const bool all = options_.wants(moebox::name(dtype));
      if (all || options_.wants("gemv")) gemv(dtype);
      if (all || options_.wants("gemm")) gemm(dtype);
    }
    if (options_.wants("attention")) attention();
    if (options_.wants("vector")) vector();
    if (options_.wants("pack")) pack();
  }

 private:
  // Seconds of the best round, and the limits of the rounds in between.
  double best(const std::function<void()>& work, int repeats = 1) {
    seen_ = {};
    double least = 1e30;
    for (int round = 0; round < options_.rounds; ++round) {
      seen_ = best_of(seen_, meter_.measure(team_));
      const double start = seconds_now();
      for (int i = 0; i < repeats; ++i) work();
      least = std::min(least, (seconds_now() - start) / repeats);
    }
    return least;
  }

  static double share(double value, double limit) { return 100 * value / limit; }

  void limits() {
    best([] {});
    fmt::print("limits: read {:.1f} GB/s, int8 {:.0f} GOP/s, f32 {:.0f} GFLOP/s\n", seen_.read_bytes_per_second / 1e9,
               seen_.int8_operations_per_second / 1e9, seen_.float_operations_per_second / 1e9);
  }

  PackedMatrix matrix(DType dtype, int n_rows, int n_columns, const std::byte* data) const {
    return {dtype, n_rows, n_columns, packed_panel_bytes(dtype, n_columns), data};
  }

  void multiply(const PackedMatrix& m, const std::byte* activations, int n_tokens, float* out) {
    team_.run([&](const TeamMember& member) {
      const auto [first, last] = member.part(m.n_panels());
      kernels_.matmul(m, activations, n_tokens, first, last, out, m.n_rows);
    });
  }

  void gemv(DType dtype) {
    constexpr int columns = 2048;
    const std::size_t panel = packed_panel_bytes(dtype, columns);
    const int rows = static_cast<int>((std::size_t{96} << 20) / panel) * panel_rows;
    const Buffer weights(panel * static_cast<std::size_t>(rows / panel_rows)), x(columns * 4),
        out(static_cast<std::size_t>(rows) * 4);
    const ActivationType type = activation_type(dtype);
    const Buffer activations(activation_bytes(type, 1, columns));
    kernels_.quantize(type, x.floats(), columns, 1, columns, 0, 1, activations.data());
    const PackedMatrix m = matrix(dtype, rows, columns, weights.data());
    const double time = best([&] { multiply(m, activations.data(), 1, out.floats()); });
    const double bytes = static_cast<double>(panel) * m.n_panels() / time;
    // Again from the nearest caches: what the arithmetic alone takes.
    const PackedMatrix small = matrix(dtype, 32 * team_.size() * 4, columns, weights.data());
    const double cached = best([&] { multiply(small, activations.data(), 1, out.floats()); }, 200);
    fmt::print("{:7} one token: {:6.1f} GB/s, {:3.0f}% of read; from cache {:6.1f} GB/s\n", moebox::name(dtype),
               bytes / 1e9, share(bytes, seen_.read_bytes_per_second),
               static_cast<double>(panel) * small.n_panels() / cached / 1e9);
  }

  void gemm(DType dtype) {
    constexpr int rows = 2048, columns = 2048;
    const bool floats = activation_type(dtype) == ActivationType::f32;
    const std::size_t panel = packed_panel_bytes(dtype, columns);
    const Buffer weights(panel * rows / panel_rows);
    const PackedMatrix m = matrix(dtype, rows, columns, weights.data());
    fmt::print("{:7}", moebox::name(dtype));
    for (const int n_tokens : {2, 8, 32, 128, 512}) {
      const ActivationType type = activation_type(dtype);
      const Buffer x(static_cast<std::size_t>(n_tokens) * columns * 4),
          out(static_cast<std::size_t>(n_tokens) * rows * 4);
      const Buffer activations(activation_bytes(type, n_tokens, columns));
      kernels_.quantize(type, x.floats(), columns, n_tokens, columns, 0, n_tokens, activations.data());
      const double time =
          best([&] { multiply(m, activations.data(), n_tokens, out.floats()); }, n_tokens < 100 ? 8 : 1);
      const double operations = 2.0 * rows * columns * n_tokens / time;
      fmt::print(" | {:3} tokens {:5.0f} GOP/s {:3.0f}%", n_tokens, operations / 1e9,
                 share(operations, floats ? seen_.float_operations_per_second : seen_.int8_operations_per_second));
    }
    fmt::print("\n");
  }

  // 9 heads of 64 over 3 KV heads, as SmolLM2-135M: a prompt of 512 tokens, and one token after 4096.
  void attention() {
    const KvShape kv{KvType::f16, 3, 64};
    constexpr int n_heads = 9, width = n_heads * 64, positions = 4096;
    const Buffer cache(kv.block_bytes() * (positions / 32)), q(512 * width * 4), out(512 * width * 4);
    std::vector<const std::byte*> blocks;
    for (int i = 0; i < positions / 32; ++i)
      blocks.push_back(cache.data() + static_cast<std::size_t>(i) * kv.block_bytes());
    const Buffer partials(static_cast<std::size_t>(512 * n_heads * attention_partial_floats(64)) * 4 * 9);
    const auto measure = [&](int first, int n_tokens) {
      AttentionArgs args;
      args.kv = kv;
      args.n_heads = n_heads;
      args.scale = 0.125f;
      args.q = q.floats();
      args.out = out.floats();
      args.q_stride = args.out_stride = width;
      args.blocks = blocks.data();
      args.first_position = first;
      args.n_tokens = n_tokens;
      const int n_segments = (first + n_tokens - 1) / kv_segment_tokens + 1;
      return best(
          [&] {
            // A unit of work: one KV head's heads of 32 tokens (or of the one), all segments.
            const int chunks = (n_tokens + 31) / 32, units = 3 * chunks;
            team_.run([&](const TeamMember& member) {
              const auto [begin, end] = member.part(units);
              for (int unit = begin; unit < end; ++unit) {
                const int head = unit % 3, from = unit / 3 * 32, to = std::min(from + 32, n_tokens);
                const std::ptrdiff_t stride = std::ptrdiff_t{(to - from) * 3} * attention_partial_floats(64);
                float* mine = partials.floats() + member.index * stride * n_segments;
                for (int s = 0; s < n_segments; ++s)
                  kernels_.attend_segment(args, head, from, to, s, mine + s * stride);
                kernels_.attend_combine(args, head, from, to, n_segments, mine, stride);
              }
            });
          },
          n_tokens == 1 ? 50 : 2);
    };
    const double prompt = measure(0, 512);
    const double operations = 4.0 * 64 * n_heads * (512.0 * 513 / 2) / prompt;
    fmt::print("attention, 512 tokens: {:.0f} GFLOP/s, {:.0f}% of f32\n", operations / 1e9,
               share(operations, seen_.float_operations_per_second));
    const double one = measure(positions - 1, 1);
    const double bytes = static_cast<double>(kv.block_bytes()) * (positions / 32) / one;
    fmt::print("attention, 1 token after {}: {:.1f} us, {:.1f} GB/s, {:.0f}% of read\n", positions - 1, one * 1e6,
               bytes / 1e9, share(bytes, seen_.read_bytes_per_second));
  }

  void vector() {
    constexpr int vocabulary = 151936, hidden = 1536;
    const Buffer x(vocabulary * 4), y(vocabulary * 4), out(512 * hidden * 4);
    const auto report = [&](const char* what, double n, double time) {
      fmt::print("{:28} {:8.2f} us, {:.2f} values/ns\n", what, time * 1e6, n / time / 1e9);
    };
    volatile float sink = 0;
    report("argmax", vocabulary, best([&] { sink = static_cast<float>(kernels_.argmax(x.floats(), vocabulary)); }, 10));
    report("log_sum_exp", vocabulary, best([&] { sink = kernels_.log_sum_exp(x.floats(), vocabulary); }, 10));
    report("rms_norm", hidden,
           best([&] { kernels_.rms_norm(x.floats(), y.floats(), 1e-5f, hidden, out.floats()); }, 1000));
    report("swiglu", hidden, best([&] { kernels_.swiglu(x.floats(), y.floats(), hidden, out.floats()); }, 1000));
    for (const auto type : {ActivationType::int8_block32, ActivationType::int8_block256}) {
      for (const int n_tokens : {1, 128}) {
        const Buffer activations(activation_bytes(type, n_tokens, hidden));
        const double time = best(
            [&] { kernels_.quantize(type, out.floats(), hidden, n_tokens, hidden, 0, n_tokens, activations.data()); },
            50);
        report(
            fmt::format("quantize {} tokens by {}", n_tokens, type == ActivationType::int8_block32 ? 32 : 256).c_str(),
            double{hidden} * n_tokens, time);
      }
    }
  }

  void pack() {
    for (const DType dtype : {DType::q4_1, DType::q5_0, DType::q8_0, DType::q4_k, DType::q6_k, DType::f16}) {
      constexpr int rows = 4096, columns = 2048;
      const std::size_t size = row_bytes(dtype, columns) * rows;
      const Buffer stored(size), packed(size);
      TensorView view;
      view.dtype = dtype;
      view.rank = 2;
      view.shape = {rows, columns};
      view.data = {stored.data(), size};
      const double time = best([&] {
        team_.run([&](const TeamMember& member) {
          const auto [first, last] = member.part(rows / panel_rows);
          pack_panels(view, first, last, packed.data());
        });
      });
      fmt::print("pack {:5} {:.2f} GB/s\n", moebox::name(dtype), static_cast<double>(size) / time / 1e9);
    }
  }

  Options options_;
  const KernelTable& kernels_;
  ThreadTeam team_;
  LimitMeter meter_;
  MachineLimits seen_;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const bool has_value = i + 1 < argc;
    if (argument == "--isa" && has_value) {
      const std::string wanted = argv[++i];
      for (const Isa isa : available_isas()) {
        if (name(isa) == wanted) options.isa = isa;
      }
    } else if (argument == "--threads" && has_value) {
      options.n_threads = std::max(1, std::atoi(argv[++i]));
    } else if (argument == "--rounds" && has_value) {
      options.rounds = std::max(1, std::atoi(argv[++i]));
    } else {
      options.what.push_back(argument);
    }
  }
  return options;
}

}  // namespace
}  // namespace moebox

int main(int argc, char** argv) {
  moebox::Bench(moebox::parse(argc, argv)).run();
  return 0;
}
