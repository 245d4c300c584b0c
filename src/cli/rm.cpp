// moebox rm: removes a model from the store.
#include <filesystem>
#include <memory>
#include <system_error>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/model_source.h"
#include "cli/verbs.h"
#include "models/packing.h"

namespace moebox::cli {
namespace {

int rm(const Context& context, const std::vector<std::string>& models) {
  Hub hub = make_hub(context);
  for (const std::string& model : models) {
    const auto path = hub.find(model);
    const auto pack_files = path ? pack_file_places(*path) : std::vector<std::filesystem::path>();
    hub.remove(model);
    for (const auto& file : pack_files) {
      std::error_code error;
      if (std::filesystem::remove(file, error); error)
        throw Error(ErrorKind::io, "the model's pack file cannot be removed: " + error.message(), file.string());
    }
    context.console.note("removed " + printable(model) + "\n");
  }
  return exit_ok;
}

}  // namespace

void add_rm(CLI::App& program, Context& context) {
  CLI::App* verb =
      add_verb(program, "rm", "Remove models from the store, their pack files, and what interrupted pulls left of them",
               "moebox rm smollm2-135m-instruct");
  auto models = std::make_shared<std::vector<std::string>>();
  verb->add_option("MODEL", *models, "a name of 'moebox list'")->required()->type_name("");
  add_settings(verb, context, {"store"});
  on_chosen(verb, context, [&context, models] { return rm(context, *models); });
}

}  // namespace moebox::cli
