#include "cli/hub_access.h"

#include "cli/interrupts.h"
#include "cli/progress.h"

namespace moebox::cli {

Hub make_hub(const Context& context) {
  const Settings& settings = context.settings;
  HubOptions options = hub_options_from_environment();
  if (settings.is_set("store") || options.store.empty()) options.store = settings.text("store");
  // The environment's catalogues are the hub's to read: they are a path list, not a comma list.
  if (settings.value("catalogue").origin != Origin::environment) {
    for (const std::string& file : settings.list("catalogue")) options.catalogues.emplace_back(file);
  }
  if (settings.is_set("hf_endpoint")) options.hf_endpoint = settings.text("hf_endpoint");
  if (settings.is_set("hf_token")) options.hf_token = settings.text("hf_token");
  options.python = settings.text("python");
  // Over the progress bar's line, which is drawn again below.
  options.notice = [&console = context.console](const std::string& text) {
    console.note(console.can_redraw_error() ? "\r\033[K" : "");
    console.dim(printable(text) + "\n");
  };
  return Hub(std::move(options));
}

std::filesystem::path fetch(const Context& context, Hub& hub, const std::string& model) {
  if (auto here = hub.find(model)) return *here;
  InterruptGuard interrupts;
  ProgressBar bar(context.console);
  return hub.pull(model, [&](std::string_view file, std::uint64_t done, std::uint64_t total) {
    bar.show(file, done, total);
    return !interrupts.take();
  });
}

std::string not_here_hint(const std::string& model) {
  const bool has_source = model.rfind("hf:", 0) == 0 || model.rfind("pip:", 0) == 0;
  if (!has_source && (model.find('/') != std::string::npos || model.ends_with(".gguf"))) return "check the path";
  return "'moebox pull " + model + "' fetches it, 'moebox list --all' shows what there is";
}

}  // namespace moebox::cli
