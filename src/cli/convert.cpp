// moebox convert: a Hugging Face folder or a GGUF file becomes a GGUF file of another type.
#include "convert/convert.h"

#include <algorithm>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "cli/json_text.h"
#include "cli/model_source.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "convert/recipe.h"

namespace moebox::cli {
namespace {

struct ConvertRequest {
  std::string in, out, type;
  bool force = false, error = false, no_mtp = false, json = false;
};

std::string shape_of(const ConvertedTensor& tensor) {
  std::string text;
  for (const std::int64_t size : tensor.shape) text += (text.empty() ? "(" : ", ") + std::to_string(size);
  return text + ")";
}

std::string error_table(const ConvertReport& report) {
  int widest = 6;
  for (const ConvertedTensor& tensor : report.tensors)
    widest = std::max(widest, std::min(60, display_width(tensor.name)));
  std::string out =
      fmt::format("{}  {:7}  {:7}  {:>9}  {}\n", pad_right("tensor", widest), "from", "to", "error", "shape");
  for (const ConvertedTensor& tensor : report.tensors)
    out += fmt::format("{}  {:7}  {:7}  {:9.2e}  {}\n", pad_right(printable(tensor.name), widest), name(tensor.from),
                       name(tensor.to), tensor.relative_error, shape_of(tensor));
  return out;
}

std::string report_json(const ConvertRequest& request, const ConvertReport& report) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const ConvertedTensor& tensor : report.tensors) {
    nlohmann::ordered_json entry = {
        {"name", tensor.name}, {"shape", tensor.shape}, {"from", name(tensor.from)}, {"to", name(tensor.to)}};
    if (request.error) entry["relative_error"] = tensor.relative_error;
    tensors.push_back(std::move(entry));
  }
  return json_text({{"path", request.out},
                    {"type", find_recipe(request.type).name},
                    {"file_bytes", report.file_bytes},
                    {"tokenizer", report.has_tokenizer},
                    {"tensors", tensors}},
                   2) +
         "\n";
}

int run_convert(const Context& context, const ConvertRequest& request) {
  find_recipe(request.type);  // a wrong name is told before anything is opened
  if (!request.force && std::filesystem::exists(request.out))
    throw Error(ErrorKind::invalid_argument, "is there already", request.out, "--force replaces it");
  const Hub hub = make_hub(context);
  const auto in = hub.find(request.in);
  if (!in) throw Error(ErrorKind::not_found, "is not here", request.in, not_here_hint(request.in));
  const Checkpoint checkpoint = Checkpoint::open(*in);
  ConvertReport report;
  {
    InterruptGuard interrupts;
    ProgressBar bar(context.console, "writing");
    ConvertOptions options;
    options.type = request.type;
    options.replace = request.force;
    options.measure_error = request.error;
    options.keep_mtp = !request.no_mtp;
    options.n_threads = static_cast<int>(context.settings.integer("threads"));
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
      bar.show(request.out, done, total);
      return !interrupts.take();
    };
    report = convert(checkpoint, request.out, options);
  }
  if (!report.has_tokenizer)
    context.console.note("the folder has no tokenizer: the file says so, and takes and gives token ids only\n");
  if (report.quantized_again)
    context.console.note("what was read is quantised already: its error and this one's add up\n");
  if (request.json)
    context.console.out(report_json(request, report));
  else if (request.error)
    context.console.out(error_table(report));
  else
    context.console.note(fmt::format("{}: {}\n", printable(request.out), bytes_text(report.file_bytes)));
  return exit_ok;
}

}  // namespace

void add_convert(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "convert", "Turn a Hugging Face folder or a GGUF file into a GGUF file of a type",
                            "moebox convert ./DeepSeek-V2-Lite deepseek-v2-lite-q4_k_m.gguf --type Q4_K_M\n"
                            "moebox convert model-bf16.gguf model-q8_0.gguf --type Q8_0 --error");
  auto request = std::make_shared<ConvertRequest>();
  std::string types;
  for (const Recipe& recipe : recipes()) types.append(types.empty() ? "" : ", ").append(recipe.name);
  verb->add_option("IN", request->in, "folder, file or name of a model that is here")->required()->type_name("");
  verb->add_option("OUT", request->out, "the GGUF file to write")->required()->type_name("");
  verb->add_option("--type", request->type, "one of " + types)->required()->type_name("TYPE");
  verb->add_flag("--error", request->error, "measure what the type costs: relative RMS error of every tensor");
  verb->add_flag("--no-mtp", request->no_mtp,
                 "leave out a folder's layer for multi-token prediction (DeepSeek-V3), which is kept otherwise");
  verb->add_flag("--force", request->force, "replace OUT if it is there");
  verb->add_flag("--json", request->json, "print a JSON object");
  add_settings(verb, context, {"threads", "store"});
  on_chosen(verb, context, [&context, request] { return run_convert(context, *request); });
}

}  // namespace moebox::cli
