#include "train/verify.h"

#include <algorithm>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"
#include "io/checkpoint.h"
#include "io/json_file.h"
#include "train/checkpoint_store.h"
#include "train/export.h"
#include "train/run.h"

namespace moebox::train {
namespace {

using Json = nlohmann::ordered_json;

struct Line {
  Json content;
  std::string link;
};

Recipe recipe_of(const std::filesystem::path& folder, const std::filesystem::path& file) {
  Recipe recipe;
  if (!file.empty()) {
    recipe = read_recipe(file);
  } else {
    const nlohmann::json then = read_json_file(folder / recipe_name);
    if (!then.is_object() || !then.contains("file") || !then.contains("text") || !then["file"].is_string() ||
        !then["text"].is_string())
      throw Error(ErrorKind::invalid_file, "expected the run's recipe", (folder / recipe_name).string());
    recipe = parse_recipe(then["text"], then["file"].get<std::string>());
  }
  recipe.output.folder = folder;
  return recipe;
}

/// The steps of those that are sound and belong to the log.
std::vector<std::int64_t> check_checkpoints(const CheckpointStore& store, const std::vector<Line>& lines,
                                            const std::function<void(const std::string&)>& tell) {
  std::vector<std::int64_t> steps = store.steps();
  for (const std::int64_t step : steps) {
    const nlohmann::json facts = store.check(step);
    if (static_cast<std::size_t>(step) >= lines.size())
      throw Error(ErrorKind::invalid_file, "the log ends before this checkpoint", store.place(step).string());
    const Line& line = lines[static_cast<std::size_t>(step)];
    if (facts.at("chain") != line.link)
      throw Error(ErrorKind::invalid_file, fmt::format("the log's line of step {} is not the checkpoint's", step),
                  store.place(step).string());
    if (line.content.contains("weights") && line.content["weights"] != facts.at("weights"))
      throw Error(ErrorKind::invalid_file, "the weights' digest is not the log's", store.place(step).string());
    tell(fmt::format("checkpoint of step {}: every checksum is right, and it belongs to the log", step));
  }
  return steps;
}

/// The first key whose value is another one.
std::string difference(const Json& logged, const Json& found, const char* who = "the step gave") {
  for (const auto& [key, value] : found.items()) {
    const Json then = logged.contains(key) ? logged[key] : Json();
    if (then.dump() != value.dump())
      return fmt::format("{}: the log says {}, {} {}", key, then.dump(), who, value.dump());
  }
  for (const auto& [key, value] : logged.items())
    if (!found.contains(key)) return fmt::format("{}: the log says {}, {} nothing", key, value.dump(), who);
  return "the order of the keys";
}

/// RUN/model, as far as it can be compared.
class ExportedModel {
 public:
  /// Its sizes and its tokenizer's files are compared with the log's first line. Throws Error(invalid_file).
  ExportedModel(const std::filesystem::path& run, const Recipe& recipe, const Json& head) : place_(run / "model") {
    std::error_code error;
    if (!std::filesystem::exists(place_, error)) return;
    const Json files = tokenizer_digests(place_);
    if (head.contains("tokenizer") && head["tokenizer"].dump() != files.dump())
      throw Error(ErrorKind::invalid_file,
                  "the tokenizer's files are not the run's: " + difference(head["tokenizer"], files, "the folder has"),
                  place_.string());
    const Checkpoint checkpoint = Checkpoint::open(place_);
    for (const TensorView& tensor : checkpoint.tensors()) rounded_ = rounded_ || tensor.dtype != DType::f32;
    model_ = make_model(checkpoint, {.further_tokens = recipe.model.further_tokens});
    if (const Json config = model_->config(); config.dump() != head.at("config").dump())
      throw Error(ErrorKind::invalid_file, difference(head.at("config"), config, "the file says"),
                  (place_ / "config.json").string());
  }

  /// Rounded weights are compared with those that the last step gives when it is done again.
  bool is_rounded() const noexcept { return rounded_; }

  /// `last`: the digest of the last step's weights, empty where neither the log nor a checkpoint has one.
  std::string compare(const std::string& last, bool done) const {
    if (!model_) return "model: there is none yet";
    if (last.empty()) return "model: neither the log nor a checkpoint has a digest of the last step's weights";
    const std::string found = model_->weights().digest();
    if (found == last) return "model: the weights are those of the last step, by their digest in the log";
    if (!done) return "model: it is not of the log's last step; the run is not done";
    throw Error(
        ErrorKind::invalid_file,
        fmt::format("the weights are not those of the last step: their digest is {}, the log's {}", found, last),
        place_.string(), "the folder is damaged, or another model");
  }
  /// The same of BF16; `last` has the last step's weights, of experts those of this rank: every rank compares its own.
  std::string compare_rounded(const Model& last, bool done) const {
    const at::NoGradGuard no_gradient;
    const std::vector<Weight>&exported = model_->weights().all(), &trained = last.weights().all();
    for (std::size_t i = 0; i < trained.size(); ++i) {
      for (const WeightPart& part : trained[i].parts) {
        Tensor values = part_of(trained[i].values, part);
        if (trained[i].kind != WeightKind::statistic) values = values.to(at::kBFloat16).to(at::kFloat);
        const auto written = std::ranges::find(exported[i].parts, part.name, &WeightPart::name);
        if (at::equal(part_of(exported[i].values, *written), values)) continue;
        if (!done) return "model: it is not of the log's last step; the run is not done";
        throw Error(ErrorKind::invalid_file, "the weights are not those of the last step, rounded",
                    place_.string() + ": " + part.name, "the folder is damaged, or another model");
      }
    }
    return "model: the weights are those of the last step, rounded to BF16";
  }

 private:
  const std::filesystem::path place_;
  std::unique_ptr<Model> model_;
  bool rounded_ = false;
};

void check_run(const std::filesystem::path& folder, const VerifyOptions& options, const OpenBatches& open,
               const std::shared_ptr<World>& world, const std::function<void(const std::string&)>& tell) {
  const std::filesystem::path log = folder / log_name;
  std::vector<Line> lines;
  walk_log(log, INT64_MAX, [&](const Json& content, const std::string& link) { lines.push_back({content, link}); });
  const std::int64_t n_steps = static_cast<std::int64_t>(lines.size()) - 1;
  if (n_steps < 1) throw Error(ErrorKind::invalid_file, "the log has no step that could be done again", log.string());
  tell(fmt::format("log: {} steps, every link of the chain is right; the last one is {}", n_steps, lines.back().link));
  const CheckpointStore store(folder / "checkpoints");
  const std::vector<std::int64_t> checkpoints = check_checkpoints(store, lines, tell);

  const std::int64_t last = options.all ? n_steps : options.step.value_or(n_steps);
  if (last < 1 || last > n_steps)
    throw Error(ErrorKind::invalid_argument, fmt::format("expected 1 to {}, found {}", n_steps, last), "--step");
  std::int64_t first = 0;  // the state that is begun with
  if (!options.all)
    for (const std::int64_t step : checkpoints)
      if (step < last) first = step;

  Recipe recipe = recipe_of(folder, options.recipe);
  std::string last_weights = lines.back().content.value("weights", "");
  if (last_weights.empty() && !checkpoints.empty() && checkpoints.back() == n_steps)
    last_weights = store.check(n_steps).at("weights");
  const ExportedModel exported(folder, recipe, lines[0].content);
  const bool done = n_steps >= recipe.schedule.steps;
  if (!exported.is_rounded()) tell(exported.compare(last_weights, done));

  // What the run had: bits depend on it.
  if (recipe.threads == 0) recipe.threads = lines[0].content.value("threads", 0);
  if (const int ranks = lines[0].content.value("ranks", 1); ranks != world->size())
    throw Error(ErrorKind::invalid_argument,
                fmt::format("the run was of {} processes, and only as many give the same bits; here are {}", ranks,
                            world->size()),
                log.string(), "moebox verify RUN --devices 0,1 starts two, for example");
  TrainingRun run(recipe, open(recipe), RunMode::replayed, world);
  if (const Json head = run.head(); head.dump() != lines[0].content.dump())
    throw Error(ErrorKind::invalid_file, difference(lines[0].content, head), log.string() + ":1",
                "the recipe, the model or the data are not the run's");
  if (first > 0) run.load(first);
  for (std::int64_t step = first + 1; step <= last; ++step) {
    const Line& line = lines[static_cast<std::size_t>(step)];
    const ReplayedStep again = run.replay(line.content.value("left_out", std::int64_t{0}));
    if (again.content.dump() != line.content.dump())
      throw Error(ErrorKind::invalid_file, difference(line.content, again.content),
                  fmt::format("{}:{}: step {}", log.string(), step + 1, step), "the log is not of these steps");
    if (std::ranges::find(checkpoints, step) != checkpoints.end() && store.check(step).at("weights") != again.weights)
      throw Error(ErrorKind::invalid_file, "the steps before it lead to other weights", store.place(step).string());
  }
  if (exported.is_rounded())
    tell(last == n_steps ? exported.compare_rounded(run.model(), done)
                         : "model: its weights are rounded: they are compared where the last step is done again");
  const bool has_digest = lines[static_cast<std::size_t>(last)].content.contains("weights");
  tell(fmt::format(
      "steps {} to {} were done again from {}: rows, losses, gradients, loads and digests are the log's, bit "
      "for bit{}",
      first + 1, last, first == 0 ? "the beginning" : fmt::format("the checkpoint of step {}", first),
      has_digest ? "" : fmt::format(" (step {} has no digest of the weights in the log)", last)));
}

}  // namespace

void verify_run(const std::filesystem::path& folder, const VerifyOptions& options, const OpenBatches& open,
                const std::shared_ptr<World>& world, const std::function<void(const std::string&)>& tell) {
  try {
    check_run(folder, options, open, world, tell);
  } catch (const nlohmann::json::exception& problem) {  // right links do not make it a run's log
    throw Error(ErrorKind::invalid_file, problem.what(), folder.string(), "a value is missing, or of another type");
  }
}

}  // namespace moebox::train
