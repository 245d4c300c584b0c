#include "cli/model_source.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::cli {

namespace {

/// Of a text that the setting's table allows.
KvType kv_type(const std::string& text) {
  return text == "f32" ? KvType::f32 : text == "bf16" ? KvType::bf16 : text == "q8_0" ? KvType::q8_0 : KvType::f16;
}

}  // namespace

LanguageModelOptions model_options(const Settings& settings) {
  LanguageModelOptions options;
  options.engine.n_threads = static_cast<int>(settings.integer("threads"));
  options.engine.context_tokens = static_cast<int>(settings.integer("context"));
  options.engine.kv_bytes = settings.size_bytes("kv_memory");
  options.engine.max_batch_tokens = static_cast<int>(settings.integer("server.batch_tokens"));
  options.engine.share_prefixes = settings.flag("prefix_cache");
  const std::string speculation = settings.text("speculation");
  options.engine.speculation = speculation == "ngram" ? Speculation::ngram
                               : speculation == "mtp" ? Speculation::mtp
                                                      : Speculation::off;  // `draft`: draft_with()
  options.model.draft_layer = options.engine.speculation == Speculation::mtp;
  options.engine.draft_tokens = static_cast<int>(settings.integer("draft_tokens"));
  options.model.kv_type = kv_type(settings.text("kv_type"));
  const std::string pack = settings.text("pack_file");
  options.model.pack_file = pack == "off"     ? PackFileUse::off
                            : pack == "write" ? PackFileUse::write
                                              : PackFileUse::automatic;
  options.model.expert_cache_bytes = settings.size_bytes("expert_cache");
  return options;
}

std::optional<std::string> draft_model(const Settings& settings) {
  const auto &kind = settings.value("speculation"), &model = settings.value("draft_model");
  if (kind.text == "draft") {
    if (model.text.empty())
      throw Error(ErrorKind::invalid_argument, "drafts by a second model need one, found none", "--speculation draft",
                  "name it with --draft-model: a small model of the same family");
    return model.text;
  }
  if (!model.text.empty() && model.origin >= kind.origin)
    throw Error(ErrorKind::invalid_argument, "a draft model that is not used: drafts are " + kind.text, model.place,
                "--speculation draft uses it; or leave it out");
  return std::nullopt;
}

void draft_with(LanguageModelOptions& options, const std::filesystem::path& draft_model) {
  options.engine.speculation = Speculation::draft;
  options.draft_model = draft_model;
}

SamplingParams sampling_params(const Settings& settings) {
  SamplingParams params;
  params.temperature = static_cast<float>(settings.number("temperature"));
  params.top_k = static_cast<int>(settings.integer("top_k"));
  params.top_p = static_cast<float>(settings.number("top_p"));
  params.min_p = static_cast<float>(settings.number("min_p"));
  params.typical_p = static_cast<float>(settings.number("typical_p"));
  params.repetition_penalty = static_cast<float>(settings.number("repetition_penalty"));
  params.frequency_penalty = static_cast<float>(settings.number("frequency_penalty"));
  params.presence_penalty = static_cast<float>(settings.number("presence_penalty"));
  if (const std::string seed = settings.text("seed"); seed != "random") {
    params.seed = std::strtoull(seed.c_str(), nullptr, 10);
  }
  return params;
}

void apply_catalogue(Settings& settings, const Hub& hub, const std::string& model) {
  for (const CatalogueEntry& entry : hub.catalogue()) {
    if (entry.name != model) continue;
    const RoutingBudget none, &own = entry.moe;
    const auto set = [&](const char* key, auto value, auto fallback) {
      if (value != fallback) settings.set(key, fmt::format("{}", value), Origin::model, "the catalogue");
    };
    set("moe_top_p", own.top_p, none.top_p);
    set("moe_threshold", own.threshold, none.threshold);
    set("moe_min_experts", own.min_experts, none.min_experts);
    set("moe_max_experts", own.max_experts, none.max_experts);
  }
}

RoutingBudget routing_budget(const Settings& settings) {
  RoutingBudget budget;
  budget.top_p = static_cast<float>(settings.number("moe_top_p"));
  budget.threshold = static_cast<float>(settings.number("moe_threshold"));
  budget.min_experts = static_cast<int>(settings.integer("moe_min_experts"));
  budget.max_experts = static_cast<int>(settings.integer("moe_max_experts"));
  return budget;
}

RoutingBudget routing_budget(const Settings& settings, const ModelInfo& model) {
  constexpr std::array keys = {"moe_top_p", "moe_threshold", "moe_min_experts", "moe_max_experts"};
  const bool asked_for = std::any_of(keys.begin(), keys.end(),
                                     [&](const char* key) { return settings.value(key).origin == Origin::option; });
  return model.moe.n_layers > 0 || asked_for ? routing_budget(settings) : RoutingBudget{};
}

TextRequest text_request(const Settings& settings, const ModelInfo& model, std::vector<TokenId> prompt,
                         const std::vector<std::string>& stop_strings) {
  TextRequest request;
  request.generation.prompt = std::move(prompt);
  request.generation.sampling = sampling_params(settings);
  request.generation.budget = routing_budget(settings, model);
  const auto longest = settings.integer("max_tokens");
  request.generation.max_new_tokens = longest > 0 ? static_cast<int>(longest) : std::numeric_limits<int>::max();
  request.stop_strings = stop_strings;
  return request;
}

}  // namespace moebox::cli
