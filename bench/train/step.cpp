// Tokens per second of whole training steps (forward, backward, clipping, AdamW) on random tokens, for the models of
// docs/training-ops.md, drawn at random. Steps that LibTorch's allocations would dominate are what a program gets that
// leaves malloc's thresholds alone; this one sets them, as moebox-train does.
//   train_step_bench [--model small|large|dense] [--type bf16|f32] [--threads N] [--steps N] [--sequences N]
//                    [--recompute yes|no] [--optimizer adamw|muon] [--json yes|no]
// dense: the small model, each layer's feed-forward as wide as what a token of the small one multiplies.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <malloc.h>
#include <sys/resource.h>

#include "train/cpu_compute.h"
#include "train/initial_weights.h"
#include "train/trainer.h"

namespace {

using namespace moebox;
using namespace moebox::train;

enum class Shape { small, large, dense };

struct Options {
  Shape shape = Shape::small;
  at::ScalarType type = at::kBFloat16;
  int threads = 0;
  int steps = 7;
  std::int64_t sequences = 8;
  bool recompute = false, muon = false, json = false;
};

constexpr std::int64_t length = 256;

/// A DeepSeek-V3-shaped model of 35 million weights, or of 192 million; or of 17 million without experts.
nlohmann::json config(Shape shape) {
  nlohmann::json c = {{"model_type", "deepseek_v3"},
                      {"vocab_size", 8192},
                      {"max_position_embeddings", 1024},
                      {"hidden_size", 384},
                      {"intermediate_size", 1024},
                      {"moe_intermediate_size", 256},
                      {"num_hidden_layers", 6},
                      {"num_attention_heads", 6},
                      {"num_key_value_heads", 6},
                      {"n_shared_experts", 1},
                      {"n_routed_experts", 16},
                      {"num_experts_per_tok", 2},
                      {"kv_lora_rank", 128},
                      {"q_lora_rank", 192},
                      {"qk_rope_head_dim", 32},
                      {"v_head_dim", 64},
                      {"qk_nope_head_dim", 32},
                      {"n_group", 1},
                      {"topk_group", 1},
                      {"first_k_dense_replace", 1},
                      {"norm_topk_prob", true},
                      {"routed_scaling_factor", 2.5},
                      {"scoring_func", "sigmoid"},
                      {"topk_method", "noaux_tc"},
                      {"rms_norm_eps", 1e-6},
                      {"rope_theta", 10000.0},
                      {"hidden_act", "silu"},
                      {"tie_word_embeddings", false},
                      {"attention_bias", false},
                      {"num_nextn_predict_layers", 0},
                      {"rope_interleave", true}};
  c["architectures"] = {"DeepseekV3ForCausalLM"};
  if (shape == Shape::dense) c.update({{"first_k_dense_replace", 6}, {"intermediate_size", 3 * 256}});
  if (shape != Shape::large) return c;
  c.update({{"hidden_size", 1024},
            {"n_routed_experts", 32},
            {"intermediate_size", 2816},
            {"moe_intermediate_size", 512},
            {"num_attention_heads", 16},
            {"num_key_value_heads", 16},
            {"kv_lora_rank", 256},
            {"q_lora_rank", 512},
            {"num_hidden_layers", 4}});
  return c;
}

std::unique_ptr<Model> model_of(const Options& options) {
  const auto file =
      std::filesystem::temp_directory_path() / ("moebox_step_" + std::to_string(::getpid())) / "config.json";
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << config(options.shape);
  auto model = make_model(Checkpoint::describe(file), {});
  std::filesystem::remove_all(file.parent_path());
  draw_weights(model->weights(), 1, 0.02);
  return model;
}

Batch random_batch(std::int64_t sequences) {
  Batch batch;
  at::manual_seed(1);
  batch.tokens = at::randint(0, 8192, {sequences, length}, at::kLong);
  batch.targets = batch.tokens.roll(-1, 1).contiguous();
  batch.targets.select(1, length - 1).fill_(-100);
  return batch;
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Floating-point operations a second in registers, the best of a few tries.
double limit(at::ScalarType type) {
  train_ops::Compute& compute = cpu_compute();
  const auto probe = type == at::kFloat ? compute.kernels.probe_f32 : compute.kernels.probe_bf16;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    std::atomic<std::int64_t> done{0};
    const double start = now();
    train_ops::for_each_task(compute.workers, 16L * compute.workers.size(),
                             [&](std::int64_t, int) { done += probe(100000); });
    best = std::max(best, static_cast<double>(done) / (now() - start));
  }
  return best;
}

/// Of one step's products: three for each weight that a token multiplies, and attention's over visible pairs.
double operations(const Model& model, const Options& options) {
  const bool large = options.shape == Shape::large;
  const double layers = large ? 4 : 6, heads = large ? 16 : 6, key_dim = 64, value_dim = 64;
  const auto tokens = static_cast<double>(options.sequences * length);
  const double pairs = tokens * (length + 1) / 2;
  return 6.0 * static_cast<double>(model.n_active_parameters()) * tokens +
         2 * layers * heads * pairs * (4 * key_dim + 3 * value_dim);
}

Options read_options(int n_arguments, char** arguments) {
  Options options;
  for (int i = 1; i < n_arguments; i += 2) {
    const std::string_view option = arguments[i], value = i + 1 < n_arguments ? arguments[i + 1] : "";
    const auto one_of = [&](std::initializer_list<std::string_view> choices) {
      const auto found = std::find(choices.begin(), choices.end(), value);
      if (found != choices.end()) return static_cast<int>(found - choices.begin());
      std::fprintf(stderr, "%s %s: there is no such choice\n", arguments[i], std::string(value).c_str());
      std::exit(2);
    };
    const auto number = [&] { return std::max(1, std::atoi(std::string(value).c_str())); };
    if (option == "--model") {
      options.shape = static_cast<Shape>(one_of({"small", "large", "dense"}));
    } else if (option == "--type") {
      options.type = one_of({"bf16", "f32"}) == 0 ? at::kBFloat16 : at::kFloat;
    } else if (option == "--threads") {
      options.threads = number();
    } else if (option == "--steps") {
      options.steps = number();
    } else if (option == "--sequences") {
      options.sequences = number();
    } else if (option == "--recompute") {
      options.recompute = one_of({"no", "yes"}) == 1;
    } else if (option == "--optimizer") {
      options.muon = one_of({"adamw", "muon"}) == 1;
    } else if (option == "--json") {
      options.json = one_of({"no", "yes"}) == 1;
    } else {
      std::fprintf(stderr, "%s: there is no such option\n", arguments[i]);
      std::exit(2);
    }
  }
  return options;
}

}  // namespace

int main(int n_arguments, char** arguments) {
  const Options options = read_options(n_arguments, arguments);
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  if (options.threads > 0) at::set_num_threads(options.threads);
  const std::unique_ptr<Model> model = model_of(options);
  TrainerOptions training;
  training.schedule = {.steps = options.steps + 2, .learning_rate = 1e-3};
  training.forward.type = options.type;
  training.forward.recompute = options.recompute;
  if (options.muon) training.muon.emplace();
  training.loss.chunk_tokens = 1024;
  Trainer trainer(*model, training);
  const Batch batch = random_batch(options.sequences);
  std::vector<double> seconds;
  StepReport report;
  for (int step = 0; step < options.steps + 2; ++step) {
    const auto start = std::chrono::steady_clock::now();
    report = trainer.step(batch);
    if (step >= 2) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const double speed = operations(*model, options) / median, most = limit(options.type);
  const double tokens = static_cast<double>(options.sequences * length);
  if (options.json) {
    const nlohmann::json result = {{"tokens_per_second", tokens / median},
                                   {"step_seconds", seconds},
                                   {"resident_bytes", usage.ru_maxrss * 1024},
                                   {"operations_per_second", speed},
                                   {"limit_operations_per_second", most},
                                   {"parameters", model->weights().n_parameters()},
                                   {"active_parameters", model->n_active_parameters()},
                                   {"threads", at::get_num_threads()}};
    std::puts(result.dump().c_str());
    return 0;
  }
  std::printf(
      "%.1fM weights, %s, %d threads: %.1f ms a step, %.0f tokens/s (best %.0f), %.0f of at most %.0f GFLOP/s: %.1f "
      "%%\n",
      1e-6 * static_cast<double>(model->weights().n_parameters()), options.type == at::kFloat ? "f32" : "bf16",
      at::get_num_threads(), 1e3 * median, tokens / median, tokens / seconds[0], 1e-9 * speed, 1e-9 * most,
      100 * speed / most);
  std::printf("%ld MB resident at most, %zu MB of them the operators' scratch; loss %.9g after %d steps\n",
              usage.ru_maxrss / 1024, cpu_compute().scratch.resident_bytes() >> 20, report.loss, options.steps + 2);
  return 0;
}
