// Counters and histograms for /metrics, in Prometheus' text format 0.0.4. Names are vLLM's where the meaning is the
// same.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "server/model_pool.h"

namespace moebox {

/// Counts of values up to each bound, and their sum. Thread safe.
class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}
  void observe(double value, std::uint64_t times = 1);

 private:
  friend class MetricsText;
  const std::vector<double> bounds_;
  std::vector<std::atomic<std::uint64_t>> counts_;  // the last one: above every bound
  std::atomic<double> sum_{0};
};

/// What is counted for one model.
struct ModelMetrics {
  enum Reason { stop, length, abort, error, n_reasons };

  ModelMetrics();
  std::atomic<std::uint64_t> prompt_tokens{0}, generation_tokens{0}, preemptions{0};
  std::atomic<std::uint64_t> moe_choices{0}, moe_experts{0};  // of models with experts: a choice is a token in a layer
  std::atomic<double> moe_dropped_mass{0}, moe_active_parameters{0};           // sums over choices of shares
  std::atomic<double> moe_saved_against_own_k{0}, moe_saved_against_dense{0};  // multiply-adds
  std::array<std::atomic<std::uint64_t>, n_reasons> finished{};                // choices, by how they ended
  Histogram time_to_first_token_s, inter_token_s, time_per_output_token_s, e2e_s, queue_s, prefill_s, decode_s,
      prompt_length, output_length, moe_experts_per_token;

  /// Counts what the gates did for one answer.
  void add(const MoeUsage& usage);
};

/// Builds the text: every family once, with its help and type.
class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;
  void family(std::string_view name, std::string_view type, std::string_view help);
  void sample(std::string_view name, const Labels& labels, double value);
  void histogram(std::string_view name, const Labels& labels, const Histogram& histogram);
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

class Metrics {
 public:
  explicit Metrics(const std::vector<ServedModel>& models);

  /// Of a model that is served.
  ModelMetrics& model(const std::string& name) { return *models_.at(name); }
  void count_http(std::string_view route, int status);

  std::atomic<std::uint64_t> rate_limited{0}, unauthorised{0}, gone{0}, slow_readers{0};

  struct Gauges {
    int connections = 0, requests_in_flight = 0;
    ModelPool::Counts pool;
    BlockStoreStats store;  // capacity 0: there is none
    bool draining = false;
  };
  std::string text(const std::vector<ModelPool::Status>& models, const Gauges& gauges) const;

 private:
  std::map<std::string, std::unique_ptr<ModelMetrics>> models_;
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> http_;  // by route and status: routes are ours, so few
};

/// Bytes of this process in memory.
std::uint64_t resident_bytes() noexcept;

}  // namespace moebox
