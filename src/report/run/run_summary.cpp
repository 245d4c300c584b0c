#include "report/run/run_summary.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/toml.h"
#include "io/json_file.h"

namespace moebox::report {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::size_t most_last_steps = 100, most_skipped_marks = 1000;
constexpr std::size_t max_recipe_bytes = 1 << 16;  // as src/train/recipe.cpp
constexpr std::ptrdiff_t max_recipe_dots = 1000;

/// Takes a log's steps in.
class Collector {
 public:
  Collector(RunSummary& run, std::string file) : run_(run), file_(std::move(file)) {}

  void add(const LoggedStep& step) {
    if (step.step == 1) take_shape(step);
    check_shape(step);
    run_.figures.add(cell_of(step));
    if (!run_.layers.empty()) run_.loads.add(loads_of_step(step));
    run_.n_tokens += step.n_tokens;
    run_.n_targets += step.n_targets;
    run_.n_left_out += step.left_out;
    run_.peak_bytes = std::max(run_.peak_bytes, step.peak_bytes);
    run_.last_resident_bytes = step.resident_bytes;
    if (step.seconds > 0 && step.seconds < 1e9) run_.seconds += step.seconds;
    if (step.skipped) {
      ++run_.n_skipped;
      if (run_.skipped.size() < most_skipped_marks) run_.skipped.push_back(step.step);
    } else if (std::isfinite(step.cross_entropy)) {
      take_cross_entropy(step.cross_entropy);
    }
  }

  void finish() {
    run_.n_last = static_cast<std::int64_t>(last_.size());
    run_.last_cross_entropy =
        last_.empty() ? NAN : std::accumulate(last_.begin(), last_.end(), 0.0) / static_cast<double>(last_.size());
    if (last_.empty()) run_.first_cross_entropy = run_.least_cross_entropy = NAN;
  }

 private:
  void take_shape(const LoggedStep& step) {
    std::size_t first = 0;
    for (const LayerTokens& layer : step.loads) {
      run_.layers.push_back({layer.layer, first, layer.tokens.size()});
      first += layer.tokens.size();
    }
  }

  void check_shape(const LoggedStep& step) const {
    bool same = step.loads.size() == run_.layers.size();
    for (std::size_t i = 0; same && i < step.loads.size(); ++i)
      same = step.loads[i].layer == run_.layers[i].layer && step.loads[i].tokens.size() == run_.layers[i].n_experts;
    if (!same)
      throw Error(ErrorKind::invalid_file, "expected the load of the same layers and experts as in the first step",
                  file_ + ":" + std::to_string(step.step + 1), "from this line on it is not what the run wrote");
  }

  static FigureCell cell_of(const LoggedStep& step) {
    FigureCell cell;
    const auto set = [&](Figure figure, double value) {
      cell.spreads[static_cast<std::size_t>(figure)] = Spread::of(value);
    };
    set(Figure::loss, step.loss);
    set(Figure::cross_entropy, step.cross_entropy);
    set(Figure::further, step.further.empty() ? NAN : step.further.front());
    set(Figure::balance, step.balance);
    set(Figure::z, step.z);
    set(Figure::gradient_norm, step.gradient_norm);
    set(Figure::learning_rate, step.learning_rate);
    set(Figure::tokens_per_second, step.seconds > 0 ? static_cast<double>(step.n_tokens) / step.seconds : NAN);
    set(Figure::resident_bytes, step.resident_bytes > 0 ? static_cast<double>(step.resident_bytes) : NAN);
    set(Figure::peak_bytes, step.peak_bytes > 0 ? static_cast<double>(step.peak_bytes) : NAN);
    if (const LoadBalance balance = balance_of(step.loads); balance.n_experts > 0) {
      set(Figure::busiest, balance.busiest);
      set(Figure::idle, static_cast<double>(balance.n_idle));
    }
    return cell;
  }

  static LoadCell loads_of_step(const LoggedStep& step) {
    LoadCell cell;
    for (const LayerTokens& layer : step.loads)
      for (const std::int64_t tokens : layer.tokens) cell.tokens.push_back(static_cast<double>(tokens));
    return cell;
  }

  void take_cross_entropy(double value) {
    if (!has_loss_) run_.first_cross_entropy = run_.least_cross_entropy = value;
    has_loss_ = true;
    run_.least_cross_entropy = std::min(run_.least_cross_entropy, value);
    last_.push_back(value);
    // Of a short run a tenth, of a long one the last hundred.
    const auto most =
        std::clamp<std::size_t>(static_cast<std::size_t>(run_.figures.n_steps()) / 10, 1, most_last_steps);
    while (last_.size() > most) last_.pop_front();
  }

  RunSummary& run_;
  const std::string file_;
  bool has_loss_ = false;
  std::deque<double> last_;
};

/// The recipe's text, and its data's folder as it was when the run began.
void read_recipe_of(const fs::path& folder, RunSummary& run) {
  run.no_data = "the run's folder does not say where its data are";  // until something better is known
  const nlohmann::json recipe = read_json_file(folder / recipe_name);
  if (!recipe.is_object() || !recipe.contains("text") || !recipe["text"].is_string()) return;
  run.recipe = recipe["text"];
  // What the trainer would refuse is shown, and not read: tables in tables are destroyed by recursion.
  if (run.recipe.size() > max_recipe_bytes || std::ranges::count(run.recipe, '.') > max_recipe_dots) return;
  if (!recipe.contains("file") || !recipe["file"].is_string()) return;
  const toml::table table = toml::parse(run.recipe);
  const auto data_folder = table["data"]["folder"].value<std::string>();
  if (!data_folder) return;
  run.no_data = "the data are not there any more";
  data::Manifest manifest =
      data::Manifest::read(fs::path(recipe["file"].get<std::string>()).parent_path() / *data_folder);
  run.no_data = "the data that lie there now are others";
  if (run.data_digest() != manifest.digest(data::train_split)) return;
  run.data = std::move(manifest);
  run.no_data.clear();
}

}  // namespace

std::int64_t RunSummary::planned_steps() const {
  const Json steps = head.value("steps", Json());
  return steps.is_number_unsigned() && steps.get<std::uint64_t>() < (1ull << 53) ? steps.get<std::int64_t>() : 0;
}

std::string RunSummary::data_digest() const {
  const Json digest = head.value("data", Json());
  return digest.is_string() ? digest.get<std::string>() : "";
}

std::string folder_name(const fs::path& folder) {
  std::error_code unknown;
  fs::path whole = fs::absolute(folder, unknown).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  return whole.filename().string();
}

RunSummary summarize_run(const fs::path& folder) {
  const fs::path log = folder / log_name;
  std::error_code unknown;
  if (!fs::exists(folder, unknown)) throw Error(ErrorKind::not_found, "is not there", folder.string());
  if (!fs::exists(log, unknown))
    throw Error(ErrorKind::not_found, std::string("expected a run's folder, found one without ") + log_name,
                folder.string(), "a run's folder is what [output] folder of its recipe says");
  RunSummary run;
  run.name = folder_name(folder);
  Collector collector(run, log.string());
  run.end =
      read_log(log, [&](const Json& head) { run.head = head; }, [&](const LoggedStep& step) { collector.add(step); });
  collector.finish();
  try {
    read_recipe_of(folder, run);
  } catch (const Error& problem) {
    // Without the place: a card is published, folders of this machine are not.
    if (problem.kind() != ErrorKind::not_found) run.no_data = "the data cannot be read: " + problem.message();
  } catch (const toml::parse_error& problem) {
    run.no_data = "the run's recipe is no TOML";
  }
  return run;
}

}  // namespace moebox::report
