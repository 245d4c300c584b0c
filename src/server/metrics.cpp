#include "server/metrics.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <unistd.h>

namespace moebox {
namespace {

constexpr std::size_t most_layers_shown = 128;  // each is a series of every family that has layers

const std::vector<double> first_token_bounds = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                                1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640};
const std::vector<double> token_bounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,
                                          0.3,   0.4,    0.5,   0.75, 1,     2.5,  5,     10,  40};
const std::vector<double> request_bounds = {0.1, 0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,  15,
                                            20,  30,  40,  50,  60, 120, 240, 480, 960, 1920};
const std::vector<double> expert_bounds = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 64};
const std::vector<double> length_bounds = {1,   2,    5,    10,   20,    50,    100,   200,
                                           500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

std::string number(double value) {
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char text[40];
  std::snprintf(text, sizeof text, "%.15g", value);
  return text;
}

void append_labels(std::string& out, const MetricsText::Labels& labels) {
  if (labels.empty()) return;
  out += '{';
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (i > 0) out += ',';
    out += labels[i].first;
    out += "=\"";
    for (const char c : labels[i].second) {
      if (c == '\n')
        out += "\\n";
      else if (c == '"' || c == '\\')
        out += '\\', out += c;
      else
        out += c;
    }
    out += '"';
  }
  out += '}';
}

}  // namespace

void Histogram::observe(double value, std::uint64_t times) {
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  counts_[static_cast<std::size_t>(bound - bounds_.begin())].fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
}

ModelMetrics::ModelMetrics()
    : time_to_first_token_s(first_token_bounds),
      inter_token_s(token_bounds),
      time_per_output_token_s(token_bounds),
      e2e_s(request_bounds),
      queue_s(request_bounds),
      prefill_s(request_bounds),
      decode_s(request_bounds),
      prompt_length(length_bounds),
      output_length(length_bounds),
      moe_experts_per_token(expert_bounds) {}

void ModelMetrics::add(const MoeUsage& usage) {
  const auto choices = static_cast<double>(usage.n_choices());
  if (choices == 0) return;
  moe_choices += static_cast<std::uint64_t>(usage.n_choices());
  moe_experts += static_cast<std::uint64_t>(usage.n_experts());
  moe_dropped_mass += usage.dropped_mass;
  moe_active_parameters += usage.active_parameters() * choices;
  moe_saved_against_own_k += static_cast<double>(usage.saved_against_own_k());
  moe_saved_against_dense += static_cast<double>(usage.saved_against_dense());
  for (std::size_t k = 0; k < usage.histogram.size(); ++k)
    if (usage.histogram[k] > 0)
      moe_experts_per_token.observe(static_cast<double>(k), static_cast<std::uint64_t>(usage.histogram[k]));
}

void MetricsText::family(std::string_view name, std::string_view type, std::string_view help) {
  for (const auto& [what, value] : {std::pair("# HELP ", help), std::pair("# TYPE ", type)}) {
    text_ += what;
    text_ += name;
    text_ += ' ';
    text_ += value;
    text_ += '\n';
  }
}

void MetricsText::sample(std::string_view name, const Labels& labels, double value) {
  text_ += name;
  append_labels(text_, labels);
  text_ += ' ';
  text_ += number(value);
  text_ += '\n';
}

void MetricsText::histogram(std::string_view name, const Labels& labels, const Histogram& histogram) {
  const std::string base(name);
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < histogram.counts_.size(); ++i) {
    count += histogram.counts_[i].load(std::memory_order_relaxed);
    const std::string bound = i < histogram.bounds_.size() ? number(histogram.bounds_[i]) : "+Inf";
    Labels with_bound = labels;
    with_bound.emplace_back("le", bound);
    sample(base + "_bucket", with_bound, static_cast<double>(count));
  }
  sample(base + "_sum", labels, histogram.sum_.load(std::memory_order_relaxed));
  sample(base + "_count", labels, static_cast<double>(count));
}

Metrics::Metrics(const std::vector<ServedModel>& models) {
  for (const ServedModel& model : models) models_.emplace(model.name, std::make_unique<ModelMetrics>());
}

void Metrics::count_http(std::string_view route, int status) {
  const std::lock_guard lock(mutex_);
  ++http_[{std::string(route), status}];
}

std::string Metrics::text(const std::vector<ModelPool::Status>& models, const Gauges& gauges) const {
  using Labels = MetricsText::Labels;
  using Status = ModelPool::Status;
  MetricsText out;
  const auto per_model = [&](std::string_view name, std::string_view type, std::string_view help, auto value) {
    out.family(name, type, help);
    for (const Status& status : models)
      out.sample(name, {{"model_name", status.name}}, static_cast<double>(value(status)));
  };
  const auto counter = [&](std::string_view name, std::string_view help, auto member) {
    per_model(name, "counter", help, [&](const Status& status) { return ((*models_.at(status.name)).*member).load(); });
  };
  const auto histogram = [&](std::string_view name, std::string_view help, auto member) {
    out.family(name, "histogram", help);
    for (const Status& status : models)
      out.histogram(name, {{"model_name", status.name}}, (*models_.at(status.name)).*member);
  };

  const auto kv_used = [](const Status& status) {
    return status.engine.kv_blocks_total > 0
               ? static_cast<double>(status.engine.kv_blocks_used) / status.engine.kv_blocks_total
               : 0.0;
  };
  per_model("vllm:num_requests_running", "gauge", "Sequences that run.",
            [](const Status& s) { return s.engine.running; });
  per_model("vllm:num_requests_waiting", "gauge",
            "Sequences that wait for the engine, and requests that wait for the model to load.",
            [](const Status& s) { return s.engine.waiting + s.waiting; });
  per_model("vllm:kv_cache_usage_perc", "gauge", "Share of the KV cache in use; 1 is all of it.", kv_used);
  per_model("vllm:gpu_cache_usage_perc", "gauge", "The older name of vllm:kv_cache_usage_perc.", kv_used);
  per_model("vllm:prefix_cache_queries_total", "counter", "Prompt tokens that were looked up in the cache.",
            [](const Status& s) { return s.engine.prefix_tokens; });
  per_model("vllm:prefix_cache_hits_total", "counter", "Of these, tokens that were found there.",
            [](const Status& s) { return s.engine.prefix_tokens_found; });
  per_model("moebox:idle_prompt_tokens_total", "counter",
            "Tokens of answers that were computed again, as prompt of a next turn, while there was nothing else to do.",
            [](const Status& s) { return s.engine.idle_prompt_tokens; });
  per_model("vllm:spec_decode_num_drafts_total", "counter", "Runs of drafted tokens that were verified.",
            [](const Status& s) { return s.engine.drafts; });
  per_model("vllm:spec_decode_num_draft_tokens_total", "counter", "Their tokens.",
            [](const Status& s) { return s.engine.draft_tokens; });
  per_model("vllm:spec_decode_num_accepted_tokens_total", "counter", "Of these, tokens that were right.",
            [](const Status& s) { return s.engine.accepted_tokens; });
  counter("vllm:num_preemptions_total", "Sequences that had to give their KV blocks to others.",
          &ModelMetrics::preemptions);
  counter("vllm:prompt_tokens_total", "Prompt tokens of finished requests.", &ModelMetrics::prompt_tokens);
  counter("vllm:generation_tokens_total", "Generated tokens.", &ModelMetrics::generation_tokens);

  counter("moebox:moe_choices_total", "Choices of a gate, one a token and layer.", &ModelMetrics::moe_choices);
  counter("moebox:moe_experts_total", "Experts that the gates chose.", &ModelMetrics::moe_experts);
  counter("moebox:moe_dropped_mass_total", "Sum over choices of the share of the gate's mass that a budget dropped.",
          &ModelMetrics::moe_dropped_mass);
  counter("moebox:moe_active_parameters_total", "Sum over choices of the share of all parameters that a token used.",
          &ModelMetrics::moe_active_parameters);
  out.family("moebox:moe_multiply_adds_saved_total", "counter",
             "Multiply-adds that were not done: against the model's own k, and against all experts.");
  for (const Status& status : models) {
    const ModelMetrics& model = *models_.at(status.name);
    out.sample("moebox:moe_multiply_adds_saved_total", {{"model_name", status.name}, {"against", "own_k"}},
               model.moe_saved_against_own_k);
    out.sample("moebox:moe_multiply_adds_saved_total", {{"model_name", status.name}, {"against", "dense"}},
               model.moe_saved_against_dense);
  }
  histogram("moebox:moe_experts_per_token", "Experts of a token in a layer.", &ModelMetrics::moe_experts_per_token);

  const auto expert_load = [&](std::string_view name, std::string_view help, double ExpertLoad::* figure) {
    out.family(name, "gauge", help);
    for (const Status& status : models) {
      const auto& layers = status.engine.expert_load;
      for (std::size_t layer = 0; layer < std::min(layers.size(), most_layers_shown); ++layer) {
        if (layers[layer].n_chosen == 0) continue;
        const std::string index = std::to_string(layer);
        out.sample(name, {{"model_name", status.name}, {"layer", index}}, layers[layer].*figure);
      }
    }
  };
  expert_load(
      "moebox:moe_expert_load_max_over_mean",
      "Choices of a layer's busiest expert over the mean of its experts, since the model was loaded; 1 is even.",
      &ExpertLoad::max_over_mean);
  expert_load(
      "moebox:moe_expert_load_entropy",
      "Entropy of the choices among a layer's experts over that of equal ones, since the model was loaded; 1 is even.",
      &ExpertLoad::entropy);

  const auto expert_cache = [&](std::string_view name, std::string_view type, std::string_view help, auto&& figure) {
    out.family(name, type, help);
    for (const Status& status : models) {
      const ExpertCacheStats& cache = status.engine.expert_cache;
      if (cache.capacity_bytes == 0) continue;
      out.sample(name, {{"model_name", status.name}}, static_cast<double>(figure(cache)));
    }
  };
  expert_cache("moebox:expert_cache_bytes", "gauge", "Memory of the expert cache.",
               [](const ExpertCacheStats& cache) { return cache.capacity_bytes; });
  expert_cache("moebox:expert_cache_hits_total", "counter", "Experts of layers that a step wanted and that were there.",
               [](const ExpertCacheStats& cache) { return cache.hits; });
  expert_cache("moebox:expert_cache_misses_total", "counter", "Those that had to be read first.",
               [](const ExpertCacheStats& cache) { return cache.misses; });
  expert_cache("moebox:expert_cache_hit_rate", "gauge", "Hits over both, since the model was loaded.",
               [](const ExpertCacheStats& cache) { return cache.hit_rate(); });
  expert_cache("moebox:expert_cache_read_bytes_total", "counter", "Bytes that were read for it.",
               [](const ExpertCacheStats& cache) { return cache.read_bytes; });
  expert_cache("moebox:expert_cache_waited_seconds_total", "counter", "Time in which steps only waited for reading.",
               [](const ExpertCacheStats& cache) { return cache.waited_ms / 1000; });

  if (gauges.store.capacity_bytes > 0) {
    per_model("moebox:kv_store_found_tokens_total", "counter",
              "Prompt tokens that were read from the KV store; of those in vllm:prefix_cache_hits_total.",
              [](const Status& s) { return s.engine.store.found_tokens; });
    per_model("moebox:kv_store_written_bytes_total", "counter", "Bytes of blocks that were written to the KV store.",
              [](const Status& s) { return s.engine.store.written_bytes; });
    per_model("moebox:kv_store_read_bytes_total", "counter", "Bytes of blocks that were read from it.",
              [](const Status& s) { return s.engine.store.read_bytes; });
    per_model("moebox:kv_store_dropped_bytes_total", "counter",
              "Bytes of blocks that were not stored: writing fell behind, or failed.",
              [](const Status& s) { return s.engine.store.dropped_bytes; });
    per_model("moebox:kv_store_refused_blocks_total", "counter",
              "Blocks of the KV store that had gone, or were not what was written.",
              [](const Status& s) { return s.engine.store.refused_blocks; });
    per_model("moebox:kv_store_late_blocks_total", "counter",
              "Blocks that were computed because reading them would have taken longer.",
              [](const Status& s) { return s.engine.store.late_blocks; });
    const auto store = [&](std::string_view name, std::string_view type, std::string_view help, std::uint64_t value) {
      out.family(name, type, help);
      out.sample(name, Labels{}, static_cast<double>(value));
    };
    store("moebox:kv_store_bytes", "gauge", "Size of the KV store's files.", gauges.store.bytes);
    store("moebox:kv_store_capacity_bytes", "gauge", "What they may take.", gauges.store.capacity_bytes);
    store("moebox:kv_store_blocks", "gauge", "Blocks in the KV store.", gauges.store.blocks);
    store("moebox:kv_store_removed_bytes_total", "counter", "Bytes that were removed to make room.",
          gauges.store.removed_bytes);
  }

  constexpr std::string_view reasons[ModelMetrics::n_reasons] = {"stop", "length", "abort", "error"};
  out.family("vllm:request_success_total", "counter", "Finished choices, by how they ended.");
  for (const Status& status : models) {
    for (int i = 0; i < ModelMetrics::n_reasons; ++i) {
      const auto& finished = models_.at(status.name)->finished;
      out.sample("vllm:request_success_total", {{"model_name", status.name}, {"finished_reason", reasons[i]}},
                 static_cast<double>(finished[static_cast<std::size_t>(i)].load()));
    }
  }
  histogram("vllm:time_to_first_token_seconds", "From submission to the first token.",
            &ModelMetrics::time_to_first_token_s);
  histogram("vllm:inter_token_latency_seconds", "Between two tokens of a choice.", &ModelMetrics::inter_token_s);
  histogram("vllm:time_per_output_token_seconds", "The older name of vllm:inter_token_latency_seconds.",
            &ModelMetrics::inter_token_s);
  histogram("vllm:request_time_per_output_token_seconds", "Mean time of a token after the first, per choice.",
            &ModelMetrics::time_per_output_token_s);
  histogram("vllm:e2e_request_latency_seconds", "From a request's arrival to the end of its answer.",
            &ModelMetrics::e2e_s);
  histogram("vllm:request_queue_time_seconds", "From submission to the first step.", &ModelMetrics::queue_s);
  histogram("vllm:request_prefill_time_seconds", "From the first step to the first token.", &ModelMetrics::prefill_s);
  histogram("vllm:request_decode_time_seconds", "From the first token to the last.", &ModelMetrics::decode_s);
  histogram("vllm:request_prompt_tokens", "Prompt tokens of a choice.", &ModelMetrics::prompt_length);
  histogram("vllm:request_generation_tokens", "Generated tokens of a choice.", &ModelMetrics::output_length);

  per_model("moebox:model_loaded", "gauge", "1 when the model is in memory.",
            [](const Status& s) { return s.loaded ? 1 : 0; });
  per_model("moebox:engine_steps_total", "counter", "Steps of the engine since the model was loaded.",
            [](const Status& s) { return s.engine.steps; });
  const auto single = [&](std::string_view name, std::string_view type, std::string_view help, double value) {
    out.family(name, type, help);
    out.sample(name, Labels{}, value);
  };
  single("moebox:model_loads_total", "counter", "Models loaded.", static_cast<double>(gauges.pool.loads));
  single("moebox:model_unloads_total", "counter", "Models unloaded.", static_cast<double>(gauges.pool.unloads));
  single("moebox:model_load_failures_total", "counter", "Loads that failed.",
         static_cast<double>(gauges.pool.failures));
  single("moebox:connections", "gauge", "Open connections.", gauges.connections);
  single("moebox:requests_in_flight", "gauge", "Requests that are being answered.", gauges.requests_in_flight);
  single("moebox:draining", "gauge", "1 while the server shuts down.", gauges.draining ? 1 : 0);
  single("moebox:rate_limited_total", "counter", "Requests refused by a rate limit.",
         static_cast<double>(rate_limited.load()));
  single("moebox:unauthorised_total", "counter", "Requests without a valid key.",
         static_cast<double>(unauthorised.load()));
  single("moebox:clients_gone_total", "counter", "Clients that left before their answer was complete.",
         static_cast<double>(gone.load()));
  single("moebox:slow_readers_total", "counter", "Streams dropped because the client did not read.",
         static_cast<double>(slow_readers.load()));
  single("process_resident_memory_bytes", "gauge", "Resident memory.", static_cast<double>(resident_bytes()));

  out.family("moebox:http_requests_total", "counter", "Requests, by route and status.");
  const std::lock_guard lock(mutex_);
  for (const auto& [key, count] : http_) {
    const std::string status = std::to_string(key.second);
    out.sample("moebox:http_requests_total", {{"route", key.first}, {"status", status}}, static_cast<double>(count));
  }
  return out.take();
}

std::uint64_t resident_bytes() noexcept {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  unsigned long long size = 0, resident = 0;
  const int n = std::fscanf(file, "%llu %llu", &size, &resident);
  std::fclose(file);
  return n == 2 ? resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

}  // namespace moebox
