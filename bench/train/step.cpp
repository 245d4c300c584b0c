// Tokens per second of whole training steps (forward, backward, clipping, AdamW) on random tokens, for the models of
// docs/training-ops.md, drawn at random. Steps that LibTorch's allocations would dominate are what a program gets that
// leaves malloc's thresholds alone; this one sets them, as moebox-train does.
//   train_step_bench [--model small|large] [--type bf16|f32] [--threads N] [--steps N]
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

struct Options {
  bool large = false;
  at::ScalarType type = at::kBFloat16;
  int threads = 0;
  int steps = 7;
};

/// A DeepSeek-V3-shaped model of 35 million weights, or of 192 million.
nlohmann::json config(bool large) {
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
  if (!large) return c;
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
  std::ofstream(file) << config(options.large);
  auto model = make_model(Checkpoint::describe(file), {});
  std::filesystem::remove_all(file.parent_path());
  draw_weights(model->weights(), 1, 0.02);
  return model;
}

Batch random_batch() {
  Batch batch;
  at::manual_seed(1);
  batch.tokens = at::randint(0, 8192, {8, 256}, at::kLong);
  batch.targets = batch.tokens.roll(-1, 1).contiguous();
  batch.targets.select(1, 255).fill_(-100);
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
double operations(const Model& model, bool large) {
  const double layers = large ? 4 : 6, heads = large ? 16 : 6, pairs = 8 * 256 * 257 / 2, key_dim = 64, value_dim = 64;
  return 6.0 * static_cast<double>(model.n_active_parameters()) * 2048 +
         2 * layers * heads * pairs * (4 * key_dim + 3 * value_dim);
}

}  // namespace

int main(int n_arguments, char** arguments) {
  Options options;
  for (int i = 1; i + 1 < n_arguments; i += 2) {
    const std::string_view option = arguments[i], value = arguments[i + 1];
    if (option == "--model") options.large = value == "large";
    if (option == "--type") options.type = value == "f32" ? at::kFloat : at::kBFloat16;
    if (option == "--threads") options.threads = std::atoi(arguments[i + 1]);
    if (option == "--steps") options.steps = std::atoi(arguments[i + 1]);
  }
  ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  if (options.threads > 0) at::set_num_threads(options.threads);
  const std::unique_ptr<Model> model = model_of(options);
  TrainerOptions training;
  training.schedule = {.steps = options.steps + 2, .learning_rate = 1e-3};
  training.forward.type = options.type;
  training.loss.chunk_tokens = 1024;
  Trainer trainer(*model, training);
  const Batch batch = random_batch();
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
  const double speed = operations(*model, options.large) / median, most = limit(options.type);
  std::printf(
      "%.1fM weights, %s, %d threads: %.1f ms a step, %.0f tokens/s (best %.0f), %.0f of at most %.0f GFLOP/s: %.1f "
      "%%\n",
      1e-6 * static_cast<double>(model->weights().n_parameters()), options.type == at::kFloat ? "f32" : "bf16",
      at::get_num_threads(), 1e3 * median, 2048 / median, 2048 / seconds[0], 1e-9 * speed, 1e-9 * most,
      100 * speed / most);
  std::printf("%ld MB resident at most, %zu MB of them the operators' scratch; loss %.9g after %d steps\n",
              usage.ru_maxrss / 1024, cpu_compute().scratch.resident_bytes() >> 20, report.loss, options.steps + 2);
  return 0;
}
