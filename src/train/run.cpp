#include "train/run.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <unistd.h>

#include "base/error.h"
#include "data/digest.h"
#include "io/json_file.h"
#include "io/output_file.h"
#include "train/export.h"
#include "train/initial_weights.h"
#include "train/products.h"
#include "train/shared_checkpoint.h"
#include "train/upcycle.h"
#include "train/whole_model.h"

namespace moebox::train {
namespace {

namespace fs = std::filesystem;

constexpr const char* lock_name = "lock";

/// A run never writes into another one's folder.
void check_output(const fs::path& folder) {
  std::error_code error;
  for (const char* name : {log_name, "checkpoints", "model", "model.gguf"})
    if (fs::exists(folder / name, error))
      throw Error(ErrorKind::invalid_argument, "another run has been here: it holds " + std::string(name),
                  "output.folder: " + folder.string(), "take a new folder, or move the old one away");
}

/// The folder is there, or could be made.
void check_writable(const fs::path& folder) {
  std::error_code error;
  fs::path there = fs::absolute(folder).lexically_normal();
  while (!fs::exists(there, error) && there.has_relative_path()) there = there.parent_path();
  if (!fs::is_directory(there, error))
    throw Error(ErrorKind::invalid_argument, "expected a folder, found something else: " + there.string(),
                "output.folder: " + folder.string());
  if (::access(there.c_str(), W_OK | X_OK) != 0)
    throw Error(ErrorKind::io, there.string() + " cannot be written to: " + std::strerror(errno),
                "output.folder: " + folder.string(), "take another folder");
}

void check_tokenizer(const fs::path& folder) {
  std::error_code error;
  if (!folder.empty() && !fs::exists(folder / "tokenizer.json", error))
    throw Error(ErrorKind::not_found, "there is no tokenizer.json in this folder",
                "model.tokenizer: " + folder.string(), "`moebox tokenizer train` makes one");
}

/// The run goes on with the model and the tokenizer that its log begins with: checkpoints have neither.
void check_same_files(const nlohmann::ordered_json& then, const nlohmann::ordered_json& now, const ModelRecipe& model) {
  const auto refuse = [](const fs::path& file, const char* what) {
    throw Error(ErrorKind::invalid_argument, what, file.string(),
                "make it what it was, or begin a new run with [model] checkpoint");
  };
  if (then.at("config") != now.at("config"))
    refuse(model.config.empty() ? model.checkpoint : model.config,
           "the model that it describes is not the one that the run was begun with");
  const nlohmann::ordered_json &files_then = then.at("tokenizer"), &files_now = now.at("tokenizer");
  const fs::path folder = tokenizer_folder(model);
  for (const auto& [name, digest] : files_then.items()) {
    if (!files_now.contains(name)) refuse(folder / name, "the file is missing: the run was begun with it");
    if (files_now.at(name) != digest) refuse(folder / name, "the file is not the one that the run was begun with");
  }
  for (const auto& [name, digest] : files_now.items())
    if (!files_then.contains(name)) refuse(folder / name, "the run was begun without this file");
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

/// By the recipe's names.
void check_budget(const RoutingBudget& budget, int top_k) {
  try {
    budget.validate(top_k);
  } catch (const Error& error) {
    throw Error(error.kind(), error.message(), "budget" + error.where().substr(error.where().find('.')), error.hint());
  }
}

TrainerOptions options_of(const Recipe& recipe, bool bf16) {
  TrainerOptions options;
  options.schedule = recipe.schedule;
  options.adamw = {.beta1 = recipe.optimizer.beta1,
                   .beta2 = recipe.optimizer.beta2,
                   .epsilon = recipe.optimizer.epsilon,
                   .weight_decay = recipe.optimizer.weight_decay};
  if (recipe.optimizer.muon)
    options.muon = MuonOptions{.momentum = recipe.optimizer.momentum,
                               .weight_decay = recipe.optimizer.weight_decay,
                               .type = bf16 ? at::kBFloat16 : at::kFloat};
  options.loss = {.further_weight = recipe.loss.further,
                  .balance_weight = recipe.loss.balance,
                  .z_weight = recipe.loss.z,
                  .chunk_tokens = recipe.loss.chunk_tokens};
  options.forward.type = bf16 ? at::kBFloat16 : at::kFloat;
  options.forward.budget = recipe.budget;
  options.forward.recompute = recipe.gradient_checkpointing;
  options.accumulate = recipe.data.accumulate;
  options.clip = recipe.optimizer.clip;
  options.bias_rate = recipe.loss.bias_rate;
  options.skip_above = recipe.optimizer.skip_above;
  options.max_skipped = recipe.optimizer.max_skipped;
  options.balance_ranks = recipe.parallel.balance;
  options.place_every = recipe.parallel.place_every;
  return options;
}

nlohmann::ordered_json log_head(const Recipe& recipe, const RunPlan& plan, const BatchSource& source,
                                const nlohmann::json& config) {
  return {{"moebox_train", 1},
          {"architecture", plan.architecture},
          {"parameters", plan.n_parameters},
          {"active_parameters", plan.n_active},
          {"config", config},
          {"tokenizer", tokenizer_digests(tokenizer_folder(recipe.model))},
          {"data", source.digest()},
          {"data_tokens", plan.data_tokens},
          {"from_checkpoint", plan.from_checkpoint},
          {"upcycled", plan.upcycled ? nlohmann::ordered_json{{"loss_before", plan.upcycled->first},
                                                              {"loss_after", plan.upcycled->second}}
                                     : nlohmann::ordered_json()},
          {"seed", recipe.model.seed},
          {"data_seed", recipe.data.seed},
          {"steps", plan.steps},
          {"sequences", recipe.data.sequences},
          {"sequence_tokens", recipe.data.sequence_tokens},
          {"accumulate", recipe.data.accumulate},
          {"products", plan.bf16 ? "bf16" : "f32"},
          {"threads", plan.threads},
          {"ranks", plan.n_ranks},
          {"expert_ranks", recipe.parallel.expert},
          {"tensor_ranks", recipe.parallel.tensor},
          {"schedule", recipe.schedule.kind == ScheduleKind::cosine ? "cosine" : "wsd"},
          {"learning_rate", recipe.schedule.learning_rate},
          {"warmup_steps", recipe.schedule.warmup_steps},
          {"decay_steps", recipe.schedule.decay_steps},
          {"final_fraction", recipe.schedule.final_fraction},
          {"optimizer", recipe.optimizer.muon ? "muon" : "adamw"},
          {"momentum", recipe.optimizer.muon ? recipe.optimizer.momentum : 0.0},
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

/// Keys that change nothing of what is learnt, and may change when a run goes on.
bool is_harmless(const std::string& key) {
  return key.starts_with("output.") || key == "checkpoint.every_steps" || key == "checkpoint.every_minutes" ||
         key == "checkpoint.keep" || key == "gradient_checkpointing" || key == "optimizer.max_returns" ||
         key == "parallel.timeout_seconds" || key == "parallel.expert" || key == "parallel.tensor" ||
         key == "parallel.place_every";
}

void check_same_recipe(const nlohmann::json& then, const std::map<std::string, std::string>& now) {
  std::string differ;
  for (const auto& [key, value] : now) {
    const std::string found = then.contains(key) ? then.at(key).get<std::string>() : "nothing";
    if (found != value && !is_harmless(key)) differ += fmt::format("; {} is {}, was {}", key, value, found);
  }
  for (const auto& [key, value] : then.items())
    if (!now.contains(key) && !is_harmless(key)) differ += fmt::format("; {} was {}", key, value.get<std::string>());
  if (!differ.empty())
    throw Error(ErrorKind::invalid_argument, "the recipe is not the one that the run was begun with" + differ, "",
                "put it back, or begin a new run with [model] checkpoint");
}

/// Of everything that a batch says.
std::string digest_of(const Batch& batch) {
  data::Hasher digest;
  for (const Tensor& part : {batch.tokens, batch.targets, batch.documents}) {
    if (!part.defined()) continue;
    const Tensor values = part.cpu().contiguous();
    digest.add_number(static_cast<std::uint64_t>(values.numel()));
    digest.add(std::span(static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()));
  }
  return data::hex(digest.finish());
}

constexpr const char* places_key = "expert_places";

nlohmann::ordered_json facts_of(const ExpertPlaces& places) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::object();
  for (const auto& [layer, experts] : places.layers)
    layers[std::to_string(layer)] = {{"places", experts.places}, {"tokens", experts.tokens}};
  return {{"ranks", places.n_ranks}, {"layers", layers}};
}

/// Of a checkpoint that does not say it, or was written by another mix: nothing, which is the experts' own order.
ExpertPlaces places_from(const nlohmann::json& facts, const WeightSet& weights) {
  ExpertPlaces places;
  if (!facts.contains(places_key) || !weights.is_split()) return places;
  try {
    const nlohmann::json& found = facts.at(places_key);
    places.n_ranks = found.at("ranks");
    for (const auto& [layer, experts] : found.at("layers").items())
      places.layers[std::stoi(layer)] = {experts.at("places").get<std::vector<std::int64_t>>(),
                                         experts.at("tokens").get<std::vector<std::int64_t>>()};
  } catch (const std::exception& problem) {
    throw Error(ErrorKind::invalid_file, problem.what(), "the checkpoint's places of experts");
  }
  return places;
}

/// How uneven the ranks' work is, and what was done about it.
void add_placement(nlohmann::ordered_json& content, const StepReport& report) {
  content["busiest_rank"] = report.busiest_rank;
  if (report.placed.empty()) return;
  content["placed"] = nlohmann::ordered_json::object();
  for (const PlacedLayer& layer : report.placed)
    content["placed"][std::to_string(layer.layer)] = {
        {"moved", layer.n_moved}, {"before", layer.before}, {"after", layer.after}};
}

/// What the recipe was, and where: moebox verify needs no other file to do a step again.
void write_recipe(const Recipe& recipe) {
  const nlohmann::ordered_json json = {{"file", recipe.file.string()}, {"text", recipe.text}};
  const std::string text = json.dump(1) + "\n";
  OutputFile file(recipe.output.folder / recipe_name, true);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace

void check_places(const Recipe& recipe, RunMode mode) {
  if (mode == RunMode::fresh) check_output(recipe.output.folder);
  if (mode != RunMode::replayed) check_writable(recipe.output.folder);
  check_tokenizer(recipe.model.tokenizer);
}

TrainingRun::TrainingRun(const Recipe& recipe, std::unique_ptr<BatchSource> source, RunMode mode,
                         std::shared_ptr<World> world)
    : recipe_(recipe),
      mode_(mode),
      world_(std::move(world)),
      ranks_(arrange_ranks(world_, {.tensor = recipe.parallel.tensor, .expert = recipe.parallel.expert})),
      source_(std::move(source)),
      store_(recipe.output.folder / "checkpoints") {
  if (world_->is_first()) check_places(recipe, mode);
  plan_.from_checkpoint = recipe.model.config.empty();
  const Checkpoint checkpoint =
      plan_.from_checkpoint ? Checkpoint::open(recipe.model.checkpoint) : Checkpoint::describe(recipe.model.config);
  if (recipe.threads > 0) at::set_num_threads(recipe.threads);
  plan_.bf16 = are_in_bf16(recipe.products, recipe.output.folder, *world_);
  const ModelOptions options{
      .further_tokens = recipe.model.further_tokens, .experts = ranks_.experts, .tensor = ranks_.tensor};
  // What is upcycled has no experts yet.
  model_ = make_model(checkpoint, options);
  check_sizes(model_->sizes(), recipe, *source_);
  if (recipe.upcycle.n_experts > 0) upcycle_model();
  check_budget(recipe.budget, model_->max_experts_per_token());
  if (recipe.data.sequences < ranks_.n_groups())
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected a sequence for each of the {} {}, found {}", ranks_.n_groups(),
                            recipe.parallel.tensor > 1 ? "groups of processes" : "processes", recipe.data.sequences),
                "data.sequences");
  trainer_ = std::make_unique<Trainer>(*model_, options_of(recipe, plan_.bf16), ranks_);
  if (!plan_.from_checkpoint) draw_weights(model_->weights(), recipe.model.seed, recipe.model.deviation);

  plan_.architecture = model_->sizes().architecture;
  plan_.n_parameters = model_->weights().n_parameters();
  plan_.n_active = model_->n_active_parameters();
  plan_.steps = recipe.schedule.steps;
  plan_.tokens_per_step = recipe.data.sequences * recipe.data.sequence_tokens;
  plan_.data_tokens = source_->n_tokens();
  // Weights and gradients, and the share of the two moments.
  plan_.memory_bytes =
      plan_.n_parameters * static_cast<std::int64_t>(sizeof(float)) * 2 * (world_->size() + 1) / world_->size();
  plan_.threads = at::get_num_threads();
  plan_.n_ranks = world_->size();
  plan_.n_expert_ranks = recipe.parallel.expert;
  plan_.n_tensor_ranks = recipe.parallel.tensor;
  plan_.place_every = recipe.parallel.place_every;
  plan_.sequences = recipe.data.sequences;
}

void TrainingRun::upcycle_model() {
  const double before = loss_now();
  model_ = upcycle(*model_, recipe_.upcycle, {.experts = ranks_.experts, .tensor = ranks_.tensor});
  plan_.upcycled = {before, loss_now()};
}

/// Of the first batch's first part, which stays the first one.
double TrainingRun::loss_now() {
  const at::NoGradGuard no_gradient;
  const std::string cursor = source_->save();
  Batch batch = source_->next();
  source_->restore(cursor);
  const std::int64_t n = std::max<std::int64_t>(1, batch.n_sequences() / recipe_.data.accumulate);
  for (Tensor* part : {&batch.tokens, &batch.targets, &batch.documents})
    if (part->defined()) *part = part->narrow(0, 0, n);
  TrainerOptions options = options_of(recipe_, plan_.bf16);
  options.forward.budget = {};  // of the routing that is trained; the dense model has none
  return compute_loss(*model_, batch, model_->forward(batch, options.forward), options.loss)
      .cross_entropy.item<double>();
}

TrainingRun::~TrainingRun() {
  if (writer_.joinable()) writer_.join();
}

void TrainingRun::begin() {
  const fs::path& folder = recipe_.output.folder;
  if (world_->is_first()) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw Error(ErrorKind::io, error.message(), "output.folder: " + folder.string());
    if (auto lock = FileLock::try_acquire(folder / lock_name))
      lock_.emplace(std::move(*lock));
    else
      throw Error(ErrorKind::resource, "another process trains in this folder", "output.folder: " + folder.string(),
                  "wait until it has ended, or end it");
    if (mode_ == RunMode::fresh) check_output(folder);  // that may have come meanwhile
    store_.remove_unfinished();
  }
  last_checkpoint_ = std::chrono::steady_clock::now();
  if (mode_ == RunMode::resumed) resume();
  if (log_ == nullptr && world_->is_first()) {
    write_recipe(recipe_);
    log_ = std::make_unique<RunLog>(folder / log_name, head(), recipe_.output.tensorboard);
  }
  if (spread_text(*world_, folder.string()); !fs::exists(folder / log_name))
    throw Error(ErrorKind::not_found, "this process does not see what rank 0 has written",
                "output.folder: " + folder.string(), "all processes of a run need one folder that they share");
}

nlohmann::ordered_json TrainingRun::head() const { return log_head(recipe_, plan_, *source_, model_->config()); }

/// The newest sound checkpoint that fits, or -1: the first rank looks, and all have its answer.
std::int64_t TrainingRun::find_checkpoint(const Fits& fits, std::string& problems) {
  const auto look = [&]() -> std::int64_t {
    std::vector<std::int64_t> steps = store_.steps();
    for (; !steps.empty(); steps.pop_back()) {
      const std::int64_t step = steps.back();
      try {
        if (fits(step, store_.check(step))) return step;
      } catch (const Error& problem) {
        notes_.push_back(fmt::format("the checkpoint of step {} is left out: {}", step, problem.what()));
        problems += fmt::format("; step {}: {}", step, problem.what());
      }
    }
    return -1;
  };
  return std::stoll(spread_text(*world_, world_->is_first() ? std::to_string(look()) : ""));
}

/// Goes on in the log behind this step; what came later is not true any more.
void TrainingRun::open_log(std::int64_t step) {
  if (!world_->is_first()) return;
  store_.remove_after(step);
  const fs::path log = recipe_.output.folder / log_name;
  log_ = nullptr;
  log_ = std::make_unique<RunLog>(log, walk_log(log, step), recipe_.output.tensorboard);
}

void TrainingRun::resume() {
  std::string problems;
  nlohmann::ordered_json begun;  // the log's first line
  const auto fits = [&](std::int64_t candidate, const nlohmann::json& facts) {
    const fs::path log = recipe_.output.folder / log_name;
    begun = nullptr;
    const LogPosition end = walk_log(log, candidate, [&](const nlohmann::ordered_json& content, const std::string&) {
      if (begun.is_null()) begun = content;
    });
    if (end.step == candidate && facts.at("chain") == end.link) return true;
    throw Error(ErrorKind::invalid_file, "the log does not lead to this checkpoint", log.string());
  };
  const std::int64_t step = find_checkpoint(fits, problems);
  if (step >= 0) {
    if (world_->is_first()) check_same_files(begun, head(), recipe_.model);
    load(step);
    open_log(step);
    notes_.push_back(fmt::format("goes on behind step {}", step));
    return;
  }
  // A checkpoint is never there without its log: what cannot be gone on from was damaged, and is not overwritten.
  if (!problems.empty())
    throw Error(ErrorKind::invalid_file, "none of the run's checkpoints can be gone on from" + problems,
                recipe_.output.folder.string(), "put the damaged files back, or begin a new run in another folder");
  std::error_code error;
  if (fs::exists(recipe_.output.folder / "model", error))
    throw Error(ErrorKind::not_found, "the run has a model, and no checkpoint to go on from",
                recipe_.output.folder.string(), "begin a new run with [model] checkpoint = its model");
  notes_.push_back("there is no checkpoint: the run begins anew");
}

void TrainingRun::load(std::int64_t step) {
  // Refused before anything is changed.
  check_same_recipe(store_.check(step).at("recipe"), recipe_.values);
  read_checkpoint(step);
}

/// Experts go to where they were before tensors are read by name.
void TrainingRun::read_checkpoint(std::int64_t step) {
  trainer_->set_places(places_from(store_.check(step), model_->weights()));
  take_facts(store_.read(step, trainer_->state()));
}

nlohmann::ordered_json TrainingRun::learn(StepReport& report) {
  const Batch batch = source_->next();
  ++n_batches_;
  try {
    report = trainer_->step(batch);
  } catch (const c10::Error& problem) {
    if (std::string_view(problem.what_without_backtrace()).find("allocate memory") == std::string_view::npos) throw;
    throw Error(ErrorKind::resource, "a step's numbers do not fit into memory",
                fmt::format("step {}", trainer_->n_done() + 1),
                "more parts of a step (data.accumulate), or gradient_checkpointing, take less");
  }
  nlohmann::ordered_json content = step_content(report);
  content["rows"] = digest_of(batch);
  if (left_out_ > 0) content["left_out"] = left_out_;
  left_out_ = 0;
  if (recipe_.parallel.balance) content["shares"] = report.shares;
  if (recipe_.parallel.place_every > 0) add_placement(content, report);
  if (report.step % recipe_.checkpoint.digest_every == 0 || done()) {
    content["weights"] = digest_of_ranks(model_->weights(), ranks_);
  }
  return content;
}

bool TrainingRun::any_rank(bool says_so) {
  const Tensor n = at::full({1}, says_so ? 1 : 0, at::kLong);
  world_->add_up(n);
  return n.item<std::int64_t>() > 0;
}

StepReport TrainingRun::step() {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  StepReport report;
  const nlohmann::ordered_json content = learn(report);
  if (log_ != nullptr) log_->write(content, std::chrono::duration<double>(Clock::now() - start).count());
  if (trainer_->is_stuck()) {
    go_back();
  } else if (any_rank(world_->is_first() && is_checkpoint_due(report.step))) {
    start_checkpoint();
  }
  return report;
}

ReplayedStep TrainingRun::replay(std::int64_t left_out) {
  for (; left_out_ < left_out; ++left_out_, ++n_batches_) source_->next();
  StepReport report;
  ReplayedStep step;
  step.content = learn(report);
  step.weights = digest_of_ranks(model_->weights(), ranks_);
  return step;
}

void TrainingRun::go_back() {
  finish_checkpoint();
  const Error stuck(ErrorKind::resource,
                    fmt::format("{} steps in a row had a loss or a gradient that is no finite number, or too long",
                                trainer_->n_skipped_in_a_row()),
                    fmt::format("step {}", n_done()), "a lower optimizer.learning_rate or a longer warm-up may help");
  if (n_returns_ >= recipe_.optimizer.max_returns) throw stuck;
  const std::int64_t from = n_done(), n_batches = n_batches_, n_returns = n_returns_ + 1;
  const std::string cursor = source_->save();  // the data that did it are not taken again
  std::string problems;
  const auto fits = [](std::int64_t, const nlohmann::json& facts) {
    return facts.at("skipped_in_a_row") == 0;  // else it was going wrong already
  };
  const std::int64_t step = find_checkpoint(fits, problems);
  if (step < 0) throw stuck;
  read_checkpoint(step);
  source_->restore(cursor);
  left_out_ += n_batches - n_batches_;
  n_batches_ = n_batches;
  n_returns_ = n_returns;
  open_log(step);
  notes_.push_back(fmt::format("{} in step {}: back to the checkpoint of step {}, with other data ({} of {} times)",
                               stuck.message(), from, step, n_returns_, recipe_.optimizer.max_returns));
}

Snapshot TrainingRun::snapshot() const {
  const TrainerCounters counters = trainer_->counters();
  Snapshot snapshot;
  snapshot.step = counters.n_done;
  snapshot.facts = {{"step_done", counters.n_done},
                    {"skipped", counters.n_skipped},
                    {"skipped_in_a_row", counters.n_skipped_in_a_row},
                    {"returns", n_returns_},
                    {"batches", n_batches_},
                    {"left_out", left_out_},
                    {"learning_rate", recipe_.schedule.rate(std::max<std::int64_t>(0, counters.n_done - 1))},
                    {"optimizer_steps", counters.optimizer_steps},
                    {"random", nullptr},  // but for the order of the data nothing is drawn after the first step
                    {"data", source_->save()},
                    {"recipe", recipe_.values},
                    {"threads", plan_.threads},
                    {"ranks", plan_.n_ranks},
                    {"shares", counters.shares}};
  if (model_->weights().is_split()) snapshot.facts[places_key] = facts_of(trainer_->places());
  snapshot.facts["weights"] = digest_of_ranks(model_->weights(), ranks_);
  if (world_->is_first()) snapshot.facts["chain"] = log_->link();
  snapshot.tensors = trainer_->own_state();
  return snapshot;
}

void TrainingRun::take_facts(const nlohmann::json& facts) {
  try {
    trainer_->set_counters({.n_done = facts.at("step_done"),
                            .n_skipped = facts.at("skipped"),
                            .n_skipped_in_a_row = facts.at("skipped_in_a_row"),
                            .optimizer_steps = facts.at("optimizer_steps"),
                            .shares = facts.at("shares")});
    source_->restore(facts.at("data").get<std::string>());
    n_returns_ = facts.at("returns");
    n_batches_ = facts.at("batches");
    left_out_ = facts.at("left_out");
    const int threads = facts.at("threads"), ranks = facts.at("ranks");
    if (threads != plan_.threads)
      notes_.push_back(fmt::format("the run was begun with {} threads and goes on with {}: bits may differ", threads,
                                   plan_.threads));
    if (ranks != plan_.n_ranks)
      notes_.push_back(
          fmt::format("the run was begun by {} processes and goes on with {}: bits may differ", ranks, plan_.n_ranks));
  } catch (const nlohmann::json::exception& problem) {
    throw Error(ErrorKind::invalid_file, problem.what(), "the checkpoint's facts");
  }
}

bool TrainingRun::is_checkpoint_due(std::int64_t step) const {
  // What a run may have to go back to is not pushed out by states that were going wrong.
  if (trainer_->n_skipped_in_a_row() > 0) return false;
  const CheckpointRecipe& when = recipe_.checkpoint;
  if (when.every_steps > 0 && step % when.every_steps == 0) return true;
  const std::chrono::duration<double> since = std::chrono::steady_clock::now() - last_checkpoint_;
  return when.every_minutes > 0 && since.count() >= when.every_minutes * 60;
}

void TrainingRun::start_checkpoint() {
  finish_checkpoint();
  last_checkpoint_ = std::chrono::steady_clock::now();
  // The copy is what the writer has; the next step changes the original.
  auto copy = std::make_shared<Snapshot>(snapshot());
  for (NamedTensor& tensor : copy->tensors)
    tensor.values = tensor.values.to(at::kCPU, at::kFloat, false, /*copy=*/true);
  const std::string occasion = fmt::format("checkpoint-{}", ++n_checkpoints_);
  writer_ = std::thread([this, copy, occasion] {
    try {
      if (world_->is_first()) RunLog::make_durable(recipe_.output.folder / log_name);
      write_together(store_, *copy, *world_, occasion);
      if (world_->is_first() && copy->facts.at("skipped_in_a_row") == 0) store_.keep_newest(recipe_.checkpoint.keep);
    } catch (const std::exception& problem) {
      writer_problem_ = fmt::format("the checkpoint of step {} could not be written: {}; older ones are as they were",
                                    copy->step, problem.what());
    }
  });
}

bool TrainingRun::finish_checkpoint() {
  if (writer_.joinable()) writer_.join();
  if (writer_problem_.empty()) return true;
  notes_.push_back(std::exchange(writer_problem_, {}));
  return false;
}

bool TrainingRun::checkpoint() {
  start_checkpoint();
  return finish_checkpoint();
}

std::vector<std::string> TrainingRun::take_notes() { return std::exchange(notes_, {}); }

fs::path TrainingRun::save() {
  finish_checkpoint();
  const fs::path folder = recipe_.output.folder / "model";
  const bool is_split = model_->weights().is_split();
  std::unique_ptr<Model> whole;
  if (is_split && ranks_.is_with_first()) whole = gather_model(*model_, ranks_);
  if (!world_->is_first()) return folder;
  export_folder(is_split ? *whole : *model_, folder,
                {.bf16 = recipe_.output.bf16, .tokenizer = tokenizer_folder(recipe_.model), .replace = true});
  if (!recipe_.output.gguf.empty())
    export_gguf(folder, recipe_.output.folder / "model.gguf", recipe_.output.gguf, true);
  return folder;
}

}  // namespace moebox::train
