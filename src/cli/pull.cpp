// moebox pull: fetches a model, resumably.
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/model_source.h"
#include "cli/verbs.h"

namespace moebox::cli {
namespace {

std::uint64_t stored_bytes(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path)) return fs::file_size(path);
  std::uint64_t total = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) total += entry.file_size();
  }
  return total;
}

int pull(const Context& context, const std::vector<std::string>& models, bool json) {
  Hub hub = make_hub(context);
  for (const std::string& model : models) {
    const bool was_here = hub.find(model).has_value();
    const auto path = fetch(context, hub, model);
    if (json) {
      const nlohmann::ordered_json object = {
          {"model", model}, {"path", path.string()}, {"size_bytes", stored_bytes(path)}, {"fetched", !was_here}};
      context.console.out(json_text(object) + "\n");
    } else {
      context.console.out(path.string() + "\n");
    }
  }
  return exit_ok;
}

}  // namespace

void add_pull(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "pull", "Fetch models; one that was interrupted goes on where it was",
                            "moebox pull smollm2-135m-instruct\n"
                            "moebox pull hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q8_0.gguf");
  auto models = std::make_shared<std::vector<std::string>>();
  auto json = std::make_shared<bool>(false);
  verb->add_option("MODEL", *models, "a name of 'moebox list --all', or hf:owner/repo/file.gguf")
      ->required()
      ->type_name("");
  verb->add_flag("--json", *json, "print a JSON object for each model");
  add_settings(verb, context, {"store", "hf_endpoint"});
  on_chosen(verb, context, [&context, models, json] { return pull(context, *models, *json); });
}

}  // namespace moebox::cli
