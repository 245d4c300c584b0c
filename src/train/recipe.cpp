#include "train/recipe.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <system_error>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/toml.h"
#include "convert/recipe.h"

namespace moebox::train {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_recipe_bytes = 1 << 16;
constexpr std::ptrdiff_t max_dots = 1000;  // tables in tables are destroyed by recursion

std::string kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    default:
      return "a date or time";
  }
}

/// One table of the recipe. Every key that is asked for is known; finish() refuses all others.
class Section {
 public:
  Section(const toml::table& recipe, std::string name, const fs::path& file, std::map<std::string, std::string>& values)
      : name_(std::move(name)),
        file_(file),
        values_(values),
        table_(name_.empty() ? &recipe : recipe[name_].as_table()) {
    if (table_ == nullptr && recipe.contains(name_))
      refuse(name_, *recipe.get(name_), "expected a table, [" + name_ + "], found " + kind_of(*recipe.get(name_)));
  }

  bool is_there() const { return table_ != nullptr; }
  bool has(const char* key) const { return table_ != nullptr && table_->contains(key); }

  void text(const char* key, std::string& value) {
    if (const toml::node* node = find(key)) {
      if (!node->is_string()) refuse_type(key, *node, "a text");
      value = node->as_string()->get();
      if (value.empty()) refuse(key, *node, "expected a text, found an empty one");
    }
    note(key, value);
  }
  void path(const char* key, fs::path& value) {
    std::string written;
    text(key, written);
    values_.erase(full_name(key));  // what lies there counts, not where
    if (!written.empty()) value = file_.parent_path() / written;
  }
  void flag(const char* key, bool& value) {
    if (const toml::node* node = find(key)) {
      if (!node->is_boolean()) refuse_type(key, *node, "true or false");
      value = node->as_boolean()->get();
    }
    note(key, value);
  }
  template <class T>
  void integer(const char* key, T& value, std::int64_t low, std::int64_t high) {
    if (const toml::node* node = find(key)) {
      if (!node->is_integer()) refuse_type(key, *node, "an integer");
      const std::int64_t number = node->as_integer()->get();
      if (number < low || number > high)
        refuse(key, *node, fmt::format("expected {} to {}, found {}", low, high, number));
      value = static_cast<T>(number);
    }
    note(key, value);
  }
  template <class T>
  void number(const char* key, T& value, double low, double high) {
    if (const toml::node* node = find(key)) {
      if (!node->is_number()) refuse_type(key, *node, "a number");
      const double found = *node->value<double>();
      if (!(found >= low && found <= high))
        refuse(key, *node, fmt::format("expected {:g} to {:g}, found {:g}", low, high, found));
      value = static_cast<T>(found);
    }
    note(key, value);
  }
  /// The place of the text among the choices.
  std::size_t choice(const char* key, const std::vector<std::string>& choices, std::size_t fallback) {
    const toml::node* node = find(key);
    note(key, choices[fallback]);
    if (node == nullptr) return fallback;
    if (!node->is_string()) refuse_type(key, *node, "a text");
    const auto found = std::find(choices.begin(), choices.end(), node->as_string()->get());
    if (found != choices.end()) {
      note(key, *found);
      return static_cast<std::size_t>(found - choices.begin());
    }
    std::string list;
    for (const std::string& one : choices) list += (list.empty() ? "" : ", ") + one;
    refuse(key, *node, "expected one of " + list + ", found " + node->as_string()->get());
  }

  void require(const char* key) const {
    if (!has(key))
      throw Error(ErrorKind::invalid_argument, "the key is missing", place(key, 0), "every recipe says it");
  }
  /// Of a mix that cannot be.
  [[noreturn]] void conflict(const char* key, const std::string& why) const {
    throw Error(ErrorKind::invalid_argument, why,
                place(key, has(key) ? static_cast<int>(table_->get(key)->source().begin.line) : 0));
  }

  /// `find` throws Error for a value that another folder does not know.
  void known(const char* key, const std::function<void()>& find) const {
    try {
      find();
    } catch (const Error& error) {
      conflict(key, error.message() + (error.hint().empty() ? "" : "; " + error.hint()));
    }
  }

  void finish() const {
    if (table_ == nullptr) return;
    for (const auto& [key, node] : *table_) {
      if (known_.contains(std::string(key.str()))) continue;
      std::string list;
      for (const std::string& one : known_) list += (list.empty() ? "" : ", ") + one;
      throw Error(ErrorKind::invalid_argument, "there is no such key",
                  place(key.str(), static_cast<int>(node.source().begin.line)),
                  (name_.empty() ? "a recipe has " : "[" + name_ + "] has ") + list);
    }
  }
  void know(const char* key) { known_.insert(key); }

 private:
  const toml::node* find(const char* key) {
    known_.insert(key);
    return table_ == nullptr ? nullptr : table_->get(key);
  }
  std::string full_name(std::string_view key) const { return name_ + (name_.empty() ? "" : ".") + std::string(key); }
  template <class T>
  void note(const char* key, const T& value) {
    values_[full_name(key)] = nlohmann::json(value).dump();
  }
  std::string place(std::string_view key, int line) const {
    return fmt::format("{}{}: {}{}{}", file_.string(), line > 0 ? ":" + std::to_string(line) : "", name_,
                       name_.empty() ? "" : ".", key);
  }
  [[noreturn]] void refuse(std::string_view key, const toml::node& node, const std::string& what) const {
    throw Error(ErrorKind::invalid_argument, what, place(key, static_cast<int>(node.source().begin.line)));
  }
  [[noreturn]] void refuse_type(const char* key, const toml::node& node, const char* expected) const {
    refuse(key, node, fmt::format("expected {}, found {}", expected, kind_of(node)));
  }

  const std::string name_;
  const fs::path& file_;
  std::map<std::string, std::string>& values_;
  const toml::table* table_;
  std::set<std::string> known_;
};

constexpr std::int64_t most = std::int64_t{1} << 40;

ModelRecipe read_model(Section section) {
  ModelRecipe model;
  section.path("config", model.config);
  section.path("checkpoint", model.checkpoint);
  section.path("tokenizer", model.tokenizer);
  section.integer("seed", model.seed, 0, INT64_MAX);
  section.number("deviation", model.deviation, 1e-6, 10);
  section.flag("further_tokens", model.further_tokens);
  section.finish();
  if (model.config.empty() && model.checkpoint.empty())
    section.conflict("config",
                     "expected config (a config.json: random weights) or checkpoint (a folder or a GGUF file)");
  if (!model.config.empty() && !model.checkpoint.empty())
    section.conflict("checkpoint", "expected either config or checkpoint, found both: a checkpoint has its own sizes");
  for (const char* key : {"seed", "deviation"})
    if (section.has(key) && model.config.empty())
      section.conflict(key, "it is of random weights; a checkpoint has its own");
  return model;
}

UpcycleOptions read_upcycle(Section section, const ModelRecipe& model) {
  UpcycleOptions upcycle;
  section.integer("experts", upcycle.n_experts, 2, max_experts_of_a_layer);
  section.integer("experts_per_token", upcycle.top_k, 1, max_experts_of_a_layer);
  section.integer("pieces", upcycle.pieces, 1, max_experts_of_a_layer);
  section.number("noise", upcycle.noise, 0, 10);
  section.integer("seed", upcycle.seed, 0, INT64_MAX);
  section.finish();
  if (!section.is_there()) return upcycle;
  section.require("experts");
  if (model.checkpoint.empty())
    section.conflict("experts", "experts are made of a dense model: expected model.checkpoint, found model.config");
  return upcycle;
}

DataRecipe read_data(Section section) {
  DataRecipe data;
  section.path("folder", data.folder);
  section.integer("sequence_tokens", data.sequence_tokens, 2, 1 << 24);
  section.integer("sequences", data.sequences, 1, 1 << 20);
  section.integer("accumulate", data.accumulate, 1, 1 << 20);
  section.integer("seed", data.seed, 0, INT64_MAX);
  section.finish();
  for (const char* key : {"folder", "sequence_tokens", "sequences"}) section.require(key);
  if (data.sequences % data.accumulate != 0)
    section.conflict("accumulate", fmt::format("expected a number that divides the {} sequences of a step, found {}",
                                               data.sequences, data.accumulate));
  return data;
}

LossRecipe read_loss(Section section, bool further_tokens) {
  LossRecipe loss;
  section.number("balance", loss.balance, 0, 100);
  section.number("z", loss.z, 0, 100);
  section.number("further", loss.further, 0, 100);
  section.number("bias_rate", loss.bias_rate, 0, 1);
  section.integer("chunk_tokens", loss.chunk_tokens, 1, 1 << 20);
  section.finish();
  if (section.has("further") && !further_tokens)
    section.conflict("further", "it weighs the loss of further tokens, and model.further_tokens is false");
  return loss;
}

RoutingBudget read_budget(Section section) {
  RoutingBudget budget;
  const Range &top_p = moe_top_p_range, &threshold = moe_threshold_range;
  section.number("top_p", budget.top_p, 0, 1);
  section.number("threshold", budget.threshold, 0, 1);
  section.integer("min_experts", budget.min_experts, 1, max_experts_of_a_layer);
  section.integer("max_experts", budget.max_experts, 1, max_experts_of_a_layer);
  section.finish();
  if (!top_p.contains(budget.top_p)) section.conflict("top_p", "expected a number " + top_p.text());
  if (!threshold.contains(budget.threshold)) section.conflict("threshold", "expected a number " + threshold.text());
  if (budget.max_experts != 0 && budget.max_experts < budget.min_experts)
    section.conflict("max_experts", "expected at least min_experts");
  return budget;
}

OptimizerRecipe read_optimizer(Section section, Schedule& schedule) {
  OptimizerRecipe optimizer;
  optimizer.muon = section.choice("kind", {"adamw", "muon"}, 0) == 1;
  section.number("momentum", optimizer.momentum, 0, 0.999999);
  section.number("learning_rate", schedule.learning_rate, 1e-12, 100);
  section.number("beta1", optimizer.beta1, 0, 0.999999);
  section.number("beta2", optimizer.beta2, 0, 0.999999);
  section.number("epsilon", optimizer.epsilon, 1e-20, 1);
  section.number("weight_decay", optimizer.weight_decay, 0, 10);
  section.number("clip", optimizer.clip, 0, 1e9);
  section.number("skip_above", optimizer.skip_above, 0, 1e9);
  section.integer("max_skipped", optimizer.max_skipped, 0, 1 << 20);
  section.integer("max_returns", optimizer.max_returns, 0, 1000);
  section.finish();
  if (section.has("momentum") && !optimizer.muon)
    section.conflict("momentum", "it is Muon's, and optimizer.kind is adamw, which has beta1");
  return optimizer;
}

void read_schedule(Section section, Schedule& schedule) {
  schedule.kind = section.choice("kind", {"cosine", "wsd"}, 0) == 0 ? ScheduleKind::cosine : ScheduleKind::wsd;
  section.integer("steps", schedule.steps, 1, most);
  section.integer("warmup_steps", schedule.warmup_steps, 0, most);
  section.integer("decay_steps", schedule.decay_steps, 1, most);
  section.number("final_fraction", schedule.final_fraction, 0, 1);
  section.finish();
  section.require("steps");
  if (schedule.warmup_steps >= schedule.steps)
    section.conflict("warmup_steps",
                     fmt::format("expected fewer than the {} steps, found {}", schedule.steps, schedule.warmup_steps));
  if (schedule.kind == ScheduleKind::cosine && section.has("decay_steps"))
    section.conflict("decay_steps", "it belongs to the schedule wsd; cosine falls from the warm-up to the end");
  if (schedule.kind == ScheduleKind::wsd && schedule.decay_steps == 0)
    section.conflict("decay_steps", "the schedule wsd needs it: how many of the last steps go down");
  if (schedule.warmup_steps + schedule.decay_steps > schedule.steps)
    section.conflict("decay_steps", fmt::format("expected at most {}, the steps behind the warm-up, found {}",
                                                schedule.steps - schedule.warmup_steps, schedule.decay_steps));
}

ParallelRecipe read_parallel(Section section) {
  ParallelRecipe parallel;
  section.integer("tensor", parallel.tensor, 1, 1 << 16);
  section.integer("expert", parallel.expert, 1, 1 << 16);
  section.integer("place_every", parallel.place_every, 0, std::int64_t{1} << 40);
  section.flag("balance", parallel.balance);
  section.integer("timeout_seconds", parallel.timeout_seconds, 5, 86'400);
  section.finish();
  if (parallel.expert == 1 && parallel.place_every > 0)
    section.conflict("place_every", "every process holds all experts: leave it out, or set parallel.expert");
  if (parallel.expert > 1 && parallel.balance)
    section.conflict("balance",
                     "ranks that hold the experts together take as many sequences each: leave out one of both");
  return parallel;
}

CheckpointRecipe read_checkpoint(Section section) {
  CheckpointRecipe checkpoint;
  section.integer("every_steps", checkpoint.every_steps, 0, most);
  section.number("every_minutes", checkpoint.every_minutes, 0, 1e6);
  section.integer("keep", checkpoint.keep, 1, 1 << 20);
  section.integer("digest_every", checkpoint.digest_every, 1, most);
  section.finish();
  return checkpoint;
}

OutputRecipe read_output(Section section) {
  OutputRecipe output;
  section.path("folder", output.folder);
  output.bf16 = section.choice("type", {"F32", "BF16"}, 0) == 1;
  section.text("gguf", output.gguf);
  section.integer("log_every", output.log_every, 1, most);
  section.flag("tensorboard", output.tensorboard);
  section.finish();
  if (!output.gguf.empty()) section.known("gguf", [&] { find_recipe(output.gguf); });
  section.require("folder");
  return output;
}

}  // namespace

Recipe parse_recipe(const std::string& text, const fs::path& file) {
  if (text.size() > max_recipe_bytes || std::count(text.begin(), text.end(), '.') > max_dots)
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected a recipe of at most {} bytes, without thousands of dots", max_recipe_bytes),
                file.string());
  toml::table table;
  try {
    table = toml::parse(text, file.string());
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::invalid_argument, std::string(error.description()),
                fmt::format("{}:{}", file.string(), error.source().begin.line), "a recipe is a TOML file");
  }
  Recipe recipe;
  recipe.file = file;
  recipe.text = text;
  Section top(table, "", file, recipe.values);
  for (const char* name :
       {"model", "upcycle", "data", "loss", "budget", "optimizer", "schedule", "parallel", "checkpoint", "output"})
    top.know(name);
  recipe.products = static_cast<Products>(top.choice("products", {"f32", "bf16", "auto"}, 0));
  top.integer("threads", recipe.threads, 0, 4096);
  top.flag("gradient_checkpointing", recipe.gradient_checkpointing);
  top.finish();
  recipe.model = read_model(Section(table, "model", file, recipe.values));
  recipe.upcycle = read_upcycle(Section(table, "upcycle", file, recipe.values), recipe.model);
  recipe.data = read_data(Section(table, "data", file, recipe.values));
  recipe.loss = read_loss(Section(table, "loss", file, recipe.values), recipe.model.further_tokens);
  recipe.budget = read_budget(Section(table, "budget", file, recipe.values));
  recipe.optimizer = read_optimizer(Section(table, "optimizer", file, recipe.values), recipe.schedule);
  read_schedule(Section(table, "schedule", file, recipe.values), recipe.schedule);
  recipe.parallel = read_parallel(Section(table, "parallel", file, recipe.values));
  recipe.checkpoint = read_checkpoint(Section(table, "checkpoint", file, recipe.values));
  recipe.output = read_output(Section(table, "output", file, recipe.values));
  return recipe;
}

Recipe read_recipe(const fs::path& file) {
  std::error_code error;
  if (fs::is_directory(file, error))
    throw Error(ErrorKind::invalid_argument, "expected a recipe, a TOML file, found a folder", file.string());
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(ErrorKind::not_found, "the recipe cannot be opened", file.string());
  std::string text(max_recipe_bytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad()) throw Error(ErrorKind::io, "the recipe cannot be read", file.string());
  return parse_recipe(text, fs::absolute(file).lexically_normal());
}

fs::path tokenizer_folder(const ModelRecipe& model) {
  if (!model.tokenizer.empty()) return model.tokenizer;
  std::error_code error;
  return fs::exists(model.checkpoint / "tokenizer.json", error) ? model.checkpoint : fs::path();
}

}  // namespace moebox::train
