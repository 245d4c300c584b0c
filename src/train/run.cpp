#include "train/run.h"

#include <chrono>
#include <system_error>

#include "base/error.h"
#include "train/export.h"
#include "train/initial_weights.h"

namespace moebox::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* log_name = "train.log.jsonl";

/// A run never writes into another one's folder.
void check_output(const fs::path& folder) {
  std::error_code error;
  for (const char* name : {log_name, "model", "model.gguf"})
    if (fs::exists(folder / name, error))
      throw Error(ErrorKind::invalid_argument, "another run has been here: it holds " + std::string(name),
                  "output.folder: " + folder.string(), "take a new folder, or move the old one away");
}

void check_tokenizer(const fs::path& folder) {
  std::error_code error;
  if (!folder.empty() && !fs::exists(folder / "tokenizer.json", error))
    throw Error(ErrorKind::not_found, "there is no tokenizer.json in this folder",
                "model.tokenizer: " + folder.string());
}

void check_sizes(const ModelSizes& sizes, const Recipe& recipe, const BatchSource& source) {
  if (recipe.data.sequence_tokens > sizes.max_context)
    throw Error(ErrorKind::invalid_argument,
                "expected at most " + std::to_string(sizes.max_context) + ", the model's context, found " +
                    std::to_string(recipe.data.sequence_tokens),
                "data.sequence_tokens");
  if (source.vocabulary_size() > sizes.vocab_size)
    throw Error(ErrorKind::invalid_argument,
                "the data's vocabulary of " + std::to_string(source.vocabulary_size()) +
                    " tokens does not fit the model's of " + std::to_string(sizes.vocab_size),
                "data.folder", "the data were made with another tokenizer");
}

TrainerOptions options_of(const Recipe& recipe) {
  TrainerOptions options;
  options.schedule = recipe.schedule;
  options.adamw = {.beta1 = recipe.optimizer.beta1,
                   .beta2 = recipe.optimizer.beta2,
                   .epsilon = recipe.optimizer.epsilon,
                   .weight_decay = recipe.optimizer.weight_decay};
  options.loss = {.further_weight = recipe.loss.further,
                  .balance_weight = recipe.loss.balance,
                  .z_weight = recipe.loss.z,
                  .chunk_tokens = recipe.loss.chunk_tokens};
  options.forward.type = recipe.bf16 ? at::kBFloat16 : at::kFloat;
  options.forward.budget = recipe.budget;
  options.accumulate = recipe.data.accumulate;
  options.clip = recipe.optimizer.clip;
  options.bias_rate = recipe.loss.bias_rate;
  options.max_skipped = recipe.optimizer.max_skipped;
  return options;
}

nlohmann::ordered_json log_head(const Recipe& recipe, const RunPlan& plan, const BatchSource& source,
                                const nlohmann::json& config) {
  return {{"moebox_train", 1},
          {"architecture", plan.architecture},
          {"parameters", plan.n_parameters},
          {"active_parameters", plan.n_active},
          {"config", config},
          {"data", source.digest()},
          {"data_tokens", plan.data_tokens},
          {"from_checkpoint", plan.from_checkpoint},
          {"seed", recipe.model.seed},
          {"data_seed", recipe.data.seed},
          {"steps", plan.steps},
          {"sequences", recipe.data.sequences},
          {"sequence_tokens", recipe.data.sequence_tokens},
          {"accumulate", recipe.data.accumulate},
          {"products", recipe.bf16 ? "bf16" : "f32"},
          {"threads", plan.threads},
          {"schedule", recipe.schedule.kind == ScheduleKind::cosine ? "cosine" : "wsd"},
          {"learning_rate", recipe.schedule.learning_rate},
          {"warmup_steps", recipe.schedule.warmup_steps},
          {"decay_steps", recipe.schedule.decay_steps},
          {"final_fraction", recipe.schedule.final_fraction},
          {"beta1", recipe.optimizer.beta1},
          {"beta2", recipe.optimizer.beta2},
          {"epsilon", recipe.optimizer.epsilon},
          {"weight_decay", recipe.optimizer.weight_decay},
          {"clip", recipe.optimizer.clip},
          {"further", recipe.model.further_tokens ? recipe.loss.further : 0.0},
          {"balance", recipe.loss.balance},
          {"z", recipe.loss.z},
          {"bias_rate", recipe.loss.bias_rate},
          {"budget",
           {{"top_p", recipe.budget.top_p},
            {"threshold", recipe.budget.threshold},
            {"min_experts", recipe.budget.min_experts},
            {"max_experts", recipe.budget.max_experts}}}};
}

}  // namespace

TrainingRun::TrainingRun(const Recipe& recipe, std::unique_ptr<BatchSource> source)
    : recipe_(recipe), source_(std::move(source)) {
  check_output(recipe.output.folder);
  check_tokenizer(recipe.model.tokenizer);
  plan_.from_checkpoint = recipe.model.config.empty();
  const Checkpoint checkpoint =
      plan_.from_checkpoint ? Checkpoint::open(recipe.model.checkpoint) : Checkpoint::describe(recipe.model.config);
  if (recipe.threads > 0) at::set_num_threads(recipe.threads);
  model_ = make_model(checkpoint, {.further_tokens = recipe.model.further_tokens});
  check_sizes(model_->sizes(), recipe, *source_);
  recipe.budget.validate(model_->max_experts_per_token());
  trainer_ = std::make_unique<Trainer>(*model_, options_of(recipe));
  if (!plan_.from_checkpoint) draw_weights(model_->weights(), recipe.model.seed, recipe.model.deviation);

  plan_.architecture = model_->sizes().architecture;
  plan_.n_parameters = model_->weights().n_parameters();
  plan_.n_active = model_->n_active_parameters();
  plan_.steps = recipe.schedule.steps;
  plan_.tokens_per_step = recipe.data.sequences * recipe.data.sequence_tokens;
  plan_.data_tokens = source_->n_tokens();
  plan_.memory_bytes = plan_.n_parameters * 4 * static_cast<std::int64_t>(sizeof(float));
  plan_.threads = at::get_num_threads();
  plan_.bf16 = recipe.bf16;
}

void TrainingRun::begin() {
  const fs::path& folder = recipe_.output.folder;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw Error(ErrorKind::io, error.message(), "output.folder: " + folder.string());
  log_ = std::make_unique<RunLog>(folder / log_name, log_head(recipe_, plan_, *source_, model_->config()));
}

StepReport TrainingRun::step() {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const StepReport report = trainer_->step(source_->next());
  log_->write(report, std::chrono::duration<double>(Clock::now() - start).count());
  return report;
}

fs::path TrainingRun::save() {
  const fs::path folder = recipe_.output.folder / "model";
  export_folder(*model_, folder,
                {.bf16 = recipe_.output.bf16, .tokenizer = tokenizer_folder(recipe_.model), .replace = true});
  if (!recipe_.output.gguf.empty())
    export_gguf(folder, recipe_.output.folder / "model.gguf", recipe_.output.gguf, true);
  return folder;
}

}  // namespace moebox::train
