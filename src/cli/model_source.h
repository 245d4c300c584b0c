// From what a person wrote as MODEL to a loaded model, by the settings.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/hub_access.h"
#include "language_model/language_model.h"

namespace moebox::cli {

/// Thread, context, cache and sampling settings as the engine wants them; without the second model that `speculation`
/// draft takes: who wants it finds it by draft_model().
LanguageModelOptions model_options(const Settings& settings);
/// The setting draft_model where `speculation` is draft; else nothing. Throws Error(invalid_argument) for one without
/// the other, but for a model that waits in a weaker place (the file, say) than that which chose other drafts.
std::optional<std::string> draft_model(const Settings& settings);
/// Has the engine draft by a second model.
void draft_with(LanguageModelOptions& options, const std::filesystem::path& draft_model);
SamplingParams sampling_params(const Settings& settings);
/// Gives the settings moe_* what the catalogue says of this model, where nobody set them.
void apply_catalogue(Settings& settings, const Hub& hub, const std::string& model);
/// The settings moe_*. A model checks them when it is asked.
RoutingBudget routing_budget(const Settings& settings);
/// The same for one model. Where it has no experts, what was set for all models (a file, a variable) does not concern
/// it; what was asked of this one (an option, /set) does, and the engine refuses it.
RoutingBudget routing_budget(const Settings& settings, const ModelInfo& model);
/// The request of `prompt` to `model` with the settings of answers.
TextRequest text_request(const Settings& settings, const ModelInfo& model, std::vector<TokenId> prompt,
                         const std::vector<std::string>& stop_strings);

}  // namespace moebox::cli
