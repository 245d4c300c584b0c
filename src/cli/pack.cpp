// moebox pack: a model's packed weights as a file beside it, which later starts map.
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/thread_team.h"
#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "cli/json_text.h"
#include "cli/model_source.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "io/checkpoint.h"
#include "models/model.h"

namespace moebox::cli {
namespace {

struct PackRequest {
  std::string model, out;
  bool force = false, json = false;
};

int run_pack(const Context& context, const PackRequest& request) {
  const Hub hub = make_hub(context);
  const auto path = hub.find(request.model);
  if (!path)
    throw Error(ErrorKind::not_found, "is not here", request.model,
                fmt::format("'moebox pull {}' fetches it, 'moebox list' shows what is here", request.model));
  const Checkpoint checkpoint = Checkpoint::open(*path);
  ThreadTeam team(static_cast<int>(context.settings.integer("threads")));
  PackFileState state;
  {
    InterruptGuard interrupts;
    ProgressBar bar(context.console, "packing");
    PackWriteOptions options;
    options.path = request.out;
    options.replace = request.force;
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
      bar.show(request.model, done, total);
      return !interrupts.take();
    };
    state = write_pack_file(checkpoint, team, model_options(context.settings).model, options);
  }
  if (request.json)
    context.console.out(json_text({{"path", state.path.string()}, {"bytes", state.bytes}}, 2) + "\n");
  else
    context.console.note(fmt::format("{}: {}\n", printable(state.path.string()), bytes_text(state.bytes)));
  return exit_ok;
}

}  // namespace

void add_pack(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "pack", "Keep a model's packed weights in a file beside it, which starts then map",
                            "moebox pack smollm2-135m-instruct\n"
                            "moebox pack ./deepseek-v2-lite.gguf && "
                            "moebox run ./deepseek-v2-lite.gguf --expert-cache 6GiB");
  auto request = std::make_shared<PackRequest>();
  verb->add_option("MODEL", request->model, "name, file or folder of a model that is here")->required()->type_name("");
  verb->add_option("--out", request->out, "write another file instead: to be moved beside the model")
      ->type_name("FILE");
  verb->add_flag("--force", request->force, "write anew even if the file that is there holds");
  verb->add_flag("--json", request->json, "print a JSON object");
  add_settings(verb, context, {"threads", "store", "speculation"});
  on_chosen(verb, context, [&context, request] { return run_pack(context, *request); });
}

}  // namespace moebox::cli
