// moebox run: chat at a terminal, or one answer.
#include <chrono>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/answer.h"
#include "cli/answer_printer.h"
#include "cli/chat.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/model_source.h"
#include "cli/profile.h"
#include "cli/verbs.h"

namespace moebox::cli {
namespace {

struct RunOptions {
  std::string model;
  std::vector<std::string> words;
  std::string file, load, template_file;
  std::vector<std::string> stop_strings;
  bool json = false, raw = false, special = false, quiet = false, verbose = false;
};

/// The question, from the words of the command line, --file, and stdin where it is no terminal. Nothing: a chat is
/// wanted.
std::optional<std::string> question(const Console& console, const RunOptions& options) {
  std::string text = fmt::format("{}", fmt::join(options.words, " "));
  if (!options.file.empty()) {
    const std::string more = read_all(options.file);
    text += text.empty() ? more : "\n\n" + more;
  } else if (options.words.empty()) {
    if (console.input_is_terminal()) return std::nullopt;
    text = read_all("-");
  }
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw Error(ErrorKind::invalid_argument, "expected a question, found nothing", "prompt",
                "moebox run MODEL \"the question\", or a text on standard input");
  }
  return text;
}

int answer_once(Context& context, LanguageModel& model, const RunOptions& options, const std::string& prompt,
                double load_ms) {
  std::vector<TokenId> ids;
  if (options.raw) {
    ids = model.tokenizer()->encode(prompt, true, options.special);
  } else {
    std::vector<ChatMessage> messages;
    if (const std::string system = context.settings.text("system"); !system.empty())
      messages.push_back({"system", system});
    messages.push_back({"user", prompt});
    ids = model.encode_chat(messages);
  }
  const int limit = model.engine().options().context_tokens;
  if (static_cast<int>(ids.size()) >= limit) {
    throw Error(ErrorKind::resource, say(context.text->does_not_fit, ids.size(), limit), "prompt",
                "a larger --context may help");
  }
  const Console& console = context.console;
  InterruptGuard interrupts;
  AnswerPrinter printer(console);
  const Reasoning begin = options.raw ? Reasoning::none : model.reasoning(ids);
  const Answer answer =
      generate(model, text_request(context.settings, model.engine().model(), std::move(ids), options.stop_strings), begin,
               {interrupts}, [&](std::string_view piece, bool reasoning) {
                 if (!options.json) printer.show(piece, reasoning);
               });
  if (options.json) {
    nlohmann::ordered_json object = {{"model", options.model}};
    object.update(answer_json(answer));
    object["load_ms"] = load_ms;
    console.out(json_text(object) + "\n");
  } else {
    printer.finish();
    print_figures(context, answer);
  }
  if (answer.reason == FinishReason::cancelled)
    throw Error(ErrorKind::cancelled, std::string(context.text->interrupted));
  return exit_ok;
}

int run(Context& context, RunOptions options) {
  const Settings& settings = context.settings;
  context.console.set_quiet(options.quiet);
  if (options.verbose) configure_log(LogLevel::debug, LogFormat::text);
  if (options.model.empty()) options.model = settings.text("model");
  if (options.json && options.words.empty() && options.file.empty() && context.console.input_is_terminal()) {
    throw Error(ErrorKind::invalid_argument, "expected a prompt", "--json", "moebox run --json MODEL \"the question\"");
  }
  // What was asked is read before minutes of fetching.
  const std::optional<std::string> prompt = question(context.console, options);
  if (prompt && !options.load.empty()) {
    throw Error(ErrorKind::invalid_argument, "expected a chat to go on with, found a question", "--load",
                "leave the question out, and type it in the chat");
  }
  Hub hub = make_hub(context);
  const auto second = draft_model(settings);
  const auto second_path = second ? fetch(context, hub, *second) : std::filesystem::path();
  const auto path = fetch(context, hub, options.model);
  apply_catalogue(context.settings, hub, options.model);
  (void)apply_profile(context.settings, path, context.console);

  LanguageModelOptions model_settings = model_options(settings);
  model_settings.engine.max_sequences = 1;
  if (second) draft_with(model_settings, second_path);
  if (!options.template_file.empty()) model_settings.chat_template = read_all(options.template_file);
  const auto start = std::chrono::steady_clock::now();
  const auto model = LanguageModel::load(path, model_settings);
  const double load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (!options.raw && !model->has_chat_template()) {
    throw Error(ErrorKind::unsupported, "the model has no chat template", path.string(),
                "--raw goes on with a text, --template FILE gives it one");
  }
  sampling_params(settings).validate(model->engine().model().vocab_size);
  if (options.verbose) {
    const ModelInfo& info = model->engine().model();
    context.console.dim(fmt::format(
        "{}: {}, {:.1f} million parameters, {} weights, {} cache of {} tokens, {} threads, loaded in {:.0f} ms\n",
        options.model, info.architecture, static_cast<double>(info.n_parameters) / 1e6, bytes_text(info.weight_bytes),
        bytes_text(model->engine().kv_bytes()), model->engine().options().context_tokens,
        model->engine().options().n_threads, load_ms));
  }
  if (prompt) return answer_once(context, *model, options, *prompt, load_ms);
  return chat(context, *model,
              {.model_name = options.model,
               .stop_strings = options.stop_strings,
               .raw = options.raw,
               .special = options.special,
               .load = options.load});
}

}  // namespace

void add_run(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "run", "Chat with a model, or ask it one question",
                            "moebox run smollm2-135m-instruct\n"
                            "moebox run smollm2-135m-instruct \"Why is the sky blue?\"\n"
                            "echo \"用一句话解释递归\" | moebox run qwen2.5-coder-0.5b-instruct\n"
                            "moebox run qwen2.5-coder-0.5b-instruct \"Explain this program:\" --file main.c\n"
                            "moebox run ./model.gguf --json --temperature 0 --max-tokens 20 \"2+2=\"\n"
                            "moebox run --raw ./base.gguf \"Once upon a time\"");
  auto options = std::make_shared<RunOptions>();
  verb->add_option("MODEL", options->model, "name, file, folder or hf:owner/repo/file.gguf")->type_name("");
  verb->add_option("PROMPT", options->words, "question; without one a chat begins, or standard input is read")
      ->type_name("");
  verb->add_option("--file", options->file, "take the prompt from a file, after PROMPT; - is standard input")
      ->type_name("FILE");
  verb->add_option("--load", options->load, "begin with a conversation that /save wrote")->type_name("FILE");
  verb->add_option("--stop", options->stop_strings, "end the answer at this text (may be repeated)")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  verb->add_option("--template", options->template_file, "a Jinja chat template instead of the model's own")
      ->type_name("FILE");
  verb->add_flag("--json", options->json, "print one JSON object with the text and the figures");
  verb->add_flag("--raw", options->raw, "no chat template: go on with the text as it is");
  verb->add_flag("--special", options->special, "with --raw: special tokens written in the text count");
  verb->add_flag("-q,--quiet", options->quiet, "print nothing but the answer and errors");
  verb->add_flag("-v,--verbose", options->verbose, "tell about the model and its loading");
  add_settings(verb, context,
               {"system", "max_tokens", "temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty",
                "frequency_penalty", "presence_penalty", "moe_top_p", "moe_threshold", "moe_min_experts",
                "moe_max_experts", "seed"},
               "Answer");
  add_settings(verb, context,
               {"context", "threads", "kv_type", "kv_memory", "prefix_cache", "speculation", "draft_model",
                "draft_tokens", "pack_file", "expert_cache", "isa"},
               "Engine");
  on_chosen(verb, context, [&context, options] { return run(context, *options); });
}

}  // namespace moebox::cli
