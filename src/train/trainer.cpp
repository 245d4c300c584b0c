#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "train/balance.h"
#include "train/gate.h"
#include "train/tensor_ranks.h"

namespace moebox::train {
namespace {

Batch part_of_batch(const Batch& batch, std::int64_t first, std::int64_t n) {
  const auto rows = [&](const Tensor& x) { return x.defined() ? x.narrow(0, first, n) : x; };
  return {rows(batch.tokens), rows(batch.targets), rows(batch.documents)};
}

/// Where it does not count, the layer has a place in `loads` all the same.
void add_load(const LayerRouting& layer, std::size_t index, bool counts, std::vector<LayerLoad>& loads) {
  const Tensor load = expert_load(layer.ids, layer.gate.n_experts).cpu();
  const auto* tokens = load.const_data_ptr<std::int64_t>();
  if (index == loads.size())
    loads.push_back({layer.layer, std::vector<std::int64_t>(static_cast<std::size_t>(layer.gate.n_experts))});
  if (!counts) return;
  for (std::size_t i = 0; i < loads[index].tokens.size(); ++i) loads[index].tokens[i] += tokens[i];
}

std::vector<Weight> chosen(const WeightSet& weights, bool split) {
  std::vector<Weight> found;
  for (const Weight& weight : weights.all())
    if (weight.is_split() == split) found.push_back(weight);
  return found;
}

std::vector<Weight> both(const std::vector<Weight>& a, const std::vector<Weight>& b) {
  std::vector<Weight> all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

}  // namespace

Trainer::Trainer(const Model& model, const TrainerOptions& options, Ranks ranks)
    : model_(model),
      options_(options),
      ranks_(std::move(ranks)),
      world_(ranks_.all),
      exchanges_{GradientExchange(chosen(model.weights(), false), *world_),
                 GradientExchange(chosen(model.weights(), true), *ranks_.replicas)},
      owned_(both(exchanges_[0].owned(), exchanges_[1].owned())),
      optimizer_(owned_, options.adamw, options.muon),
      placement_(model.weights(), ranks_.experts) {
  if (options.balance_ranks && model.weights().is_split())
    throw Error(ErrorKind::invalid_argument, "ranks that hold the experts together take as many parts each",
                "parallel.balance", "leave it out, or parallel.expert");
  if (options.bias_rate == 0.0) return;
  for (const Weight& weight : model.weights().all())
    if (weight.kind == WeightKind::statistic) return;
  throw Error(ErrorKind::invalid_argument, "the model's gates have no correction bias that could be moved",
              "loss.bias_rate", "leave it out, or balance by loss.balance");
}

void Trainer::learn_part(const Batch& part, const BatchCounts& whole, StepReport& report) {
  const ForwardResult result = model_.forward(part, options_.forward);
  const Loss loss = compute_loss(model_, with_own_targets(part, *ranks_.tensor), result, options_.loss, whole);
  Tensor total = loss.total;
  // A part may have nothing to learn; but ranks that compute together wait for each other's gradients, of every layer.
  if (ranks_.compute_together()) {
    total = total + result.rows.to(at::kFloat).sum() * 0.0;
    for (const Tensor& rows : result.further_rows) total = total + rows.to(at::kFloat).sum() * 0.0;
  }
  if (total.requires_grad()) total.backward();
  report.loss += loss.total.item<double>();
  report.cross_entropy += loss.cross_entropy.item<double>();
  report.further.resize(loss.further.size());
  for (std::size_t i = 0; i < loss.further.size(); ++i) report.further[i] += loss.further[i].item<double>();
  report.balance += loss.balance.item<double>();
  report.z += loss.z.item<double>();
  biases_.clear();
  for (std::size_t i = 0; i < result.routing.size(); ++i) {
    add_load(result.routing[i], i, ranks_.tensor->is_first(), report.loads);
    biases_.push_back(result.routing[i].bias);
  }
}

void Trainer::move_biases(const StepReport& report) {
  if (options_.bias_rate == 0.0) return;
  for (std::size_t i = 0; i < biases_.size(); ++i) {
    if (!biases_[i].defined()) continue;
    const auto& tokens = report.loads[i].tokens;
    const Tensor load = at::empty({static_cast<std::int64_t>(tokens.size())}, at::kLong);
    std::copy(tokens.begin(), tokens.end(), load.mutable_data_ptr<std::int64_t>());
    update_correction_bias(biases_[i], load.to(biases_[i].device()), options_.bias_rate);
  }
}

/// This rank's sequences, part by part; the seconds that they took. Of ranks that have the same ones each adds its
/// share of a loss: its own targets', and of what is counted by tokens and sequences one of so many.
double Trainer::learn(const Batch& batch, const BatchCounts& whole, StepReport& report) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto group = static_cast<std::size_t>(ranks_.group());
  const std::int64_t n = report.shares[group], part = (n + options_.accumulate - 1) / options_.accumulate;
  const std::int64_t first =
      std::accumulate(report.shares.begin(), report.shares.begin() + ranks_.group(), std::int64_t{0});
  BatchCounts of_all = whole;
  of_all.n_tokens *= ranks_.tensor->size();
  of_all.n_sequences *= ranks_.tensor->size();
  for (std::int64_t done = 0; done < n; done += part) {
    const std::int64_t n_part = std::min(part, n - done);
    if (done + n_part == n)
      for (GradientExchange& exchange : exchanges_) exchange.expect_last_backward();
    learn_part(part_of_batch(batch, first + done, n_part), of_all, report);
  }
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What the ranks' parts gave, added up in every rank; `seconds` has a place for each group of them.
void Trainer::add_reports(StepReport& report, std::vector<double>& seconds) {
  if (world_->size() == 1) return;
  std::vector<double> numbers;
  const auto visit = [&](const auto& f) {
    for (double* number : {&report.loss, &report.cross_entropy, &report.balance, &report.z}) f(*number);
    for (double& number : report.further) f(number);
    for (double& number : seconds) f(number);
    for (LayerLoad& layer : report.loads)
      for (std::int64_t& tokens : layer.tokens) f(tokens);
  };
  visit([&](const auto& number) { numbers.push_back(static_cast<double>(number)); });
  world_->add_up(at::from_blob(numbers.data(), {static_cast<std::int64_t>(numbers.size())}, at::kDouble));
  std::size_t next = 0;
  visit([&](auto& number) { number = static_cast<std::remove_reference_t<decltype(number)>>(numbers[next++]); });
}

/// Of the gradients at their owners, in all ranks.
double Trainer::gradient_norm() {
  const Tensor squares = at::full({1}, squared_gradients(owned_), at::kDouble);
  world_->add_up(squares);
  return std::sqrt(squares.item<double>());
}

void Trainer::share_out(const Batch& batch) {
  if (batch.tokens.dim() != 2 || batch.n_sequences() % options_.accumulate != 0)
    throw Error(ErrorKind::invalid_argument,
                "expected a number of sequences that " + std::to_string(options_.accumulate) + " divides, found " +
                    std::to_string(batch.n_sequences()),
                "data.accumulate");
  const int n_groups = ranks_.n_groups();
  const std::string groups =
      std::to_string(n_groups) + (ranks_.tensor->size() > 1 ? " groups of processes" : " processes");
  if (batch.n_sequences() < n_groups)
    throw Error(ErrorKind::invalid_argument,
                "expected a sequence for each of the " + groups + ", found " + std::to_string(batch.n_sequences()),
                "data.sequences");
  if (model_.weights().is_split() && batch.n_sequences() % (n_groups * options_.accumulate) != 0)
    throw Error(ErrorKind::invalid_argument,
                "expected a number of sequences that the " + groups + " times " + std::to_string(options_.accumulate) +
                    " parts divide, found " + std::to_string(batch.n_sequences()),
                "data.sequences", "ranks that hold the experts together take as many each");
  const bool fits = shares_ && std::accumulate(shares_->shares().begin(), shares_->shares().end(), std::int64_t{0}) ==
                                   batch.n_sequences();
  if (!fits) shares_.emplace(even_shares(batch.n_sequences(), n_groups));
}

StepReport Trainer::step(const Batch& batch) {
  share_out(batch);
  StepReport report;
  report.step = n_done_ + 1;
  report.learning_rate = options_.schedule.rate(n_done_);
  report.shares = shares_->shares();
  const BatchCounts whole = count(batch);
  report.n_targets = whole.n_targets;
  report.n_tokens = whole.n_tokens;
  std::vector<double> seconds(report.shares.size());
  const double own_seconds = learn(batch, whole, report);
  if (ranks_.tensor->is_first()) seconds[static_cast<std::size_t>(ranks_.group())] = own_seconds;
  for (GradientExchange& exchange : exchanges_) exchange.finish();
  add_reports(report, seconds);
  if (options_.balance_ranks) shares_->add(seconds);
  report.gradient_norm = gradient_norm();
  report.skipped = !std::isfinite(report.gradient_norm) || !std::isfinite(report.loss) ||
                   (options_.skip_above > 0 && report.gradient_norm > options_.skip_above);
  ++n_done_;
  if (report.skipped) {
    ++n_skipped_;
    optimizer_.clear_gradients();
    ++n_skipped_in_a_row_;
    return report;
  }
  n_skipped_in_a_row_ = 0;
  const bool too_long = options_.clip > 0 && report.gradient_norm > options_.clip;
  optimizer_.step(report.learning_rate, too_long ? options_.clip / report.gradient_norm : 1.0);
  optimizer_.clear_gradients();
  for (GradientExchange& exchange : exchanges_) exchange.spread_values();
  move_biases(report);
  if (options_.place_every > 0) {
    report.busiest_rank = placement_.add(report.loads);
    if (n_done_ % options_.place_every == 0) report.placed = placement_.place(optimizer_);
  }
  return report;
}

std::vector<NamedTensor> Trainer::state() const {
  std::vector<NamedTensor> state;
  for (const Weight& weight : model_.weights().all()) add_parts(state, "weight", weight, weight.values);
  for (NamedTensor& moment : optimizer_.state()) state.push_back(std::move(moment));
  return state;
}

std::vector<NamedTensor> Trainer::own_state() const {
  std::vector<NamedTensor> state;
  for (const Weight& weight : owned_) add_parts(state, "weight", weight, weight.values);
  // All ranks have the same statistics; the first one writes them.
  for (const Weight& weight : model_.weights().all())
    if (world_->is_first() && weight.kind == WeightKind::statistic) add_parts(state, "weight", weight, weight.values);
  for (NamedTensor& moment : optimizer_.state()) state.push_back(std::move(moment));
  return state;
}

TrainerCounters Trainer::counters() const {
  TrainerCounters counters{.n_done = n_done_, .n_skipped = n_skipped_, .n_skipped_in_a_row = n_skipped_in_a_row_};
  counters.optimizer_steps = optimizer_.counts();
  if (shares_) counters.shares = shares_->shares();
  return counters;
}

void Trainer::set_counters(const TrainerCounters& counters) {
  optimizer_.set_counts(counters.optimizer_steps);
  n_done_ = counters.n_done;
  n_skipped_ = counters.n_skipped;
  n_skipped_in_a_row_ = counters.n_skipped_in_a_row;
  shares_.reset();
  if (counters.shares.size() == static_cast<std::size_t>(ranks_.n_groups())) shares_.emplace(counters.shares);
}

}  // namespace moebox::train
