#include "tokenizer_choice.h"

#include "base/error.h"
#include "cli/hub_access.h"
#include "cli/progress.h"
#include "waiting.h"

namespace moebox::python {

cli::Context make_context() {
  cli::Context context;
  context.settings.load("");
  return context;
}

void set(cli::Settings& settings, const SettingValues& values) {
  for (const auto& [key, value] : values) settings.set(key, value, cli::Origin::option, key);
}

std::filesystem::path find_model(const cli::Context& context, const std::string& name) {
  Hub hub = cli::make_hub(context);
  if (auto here = hub.find(name)) return *here;
  cli::ProgressBar bar(context.console);
  return wait_for([&](Watch& watch) {
    return hub.pull(name, [&](std::string_view file, std::uint64_t done, std::uint64_t total) {
      bar.show(file, done, total);
      return watch.goes_on();
    });
  });
}

data::NamedTokenizer find_tokenizer(const std::string& name) {
  if (name.empty())
    throw Error(ErrorKind::invalid_argument, "expected a model's name, file or folder, found an empty text",
                "tokenizer");
  std::filesystem::path path = name;
  if (path.filename() != "tokenizer.json" && !std::filesystem::exists(path)) path = find_model(make_context(), name);
  return wait_for([&](Watch&) { return data::load_tokenizer(path); });
}

}  // namespace moebox::python
