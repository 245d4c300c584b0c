// moebox tokenizer train: texts become a tokenizer.json.
#include <filesystem>
#include <memory>

#include <fmt/core.h>

#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "cli/progress.h"
#include "data/program/tokenizer_making.h"
#include "data/program/verbs.h"
#include "tokenizer/named_pre_tokenizer.h"

namespace moebox::data {
namespace {

namespace fs = std::filesystem;

int run_train(const cli::Context& context, TokenizerRequest request) {
  const fs::path folder = request.out;
  request.n_threads = static_cast<int>(context.settings.integer("threads"));
  TrainedTokenizer trained;
  {
    cli::InterruptGuard interrupts;
    cli::ProgressBar bar(context.console, "counting words of");
    request.reading = [&](std::uint64_t done, std::uint64_t total) {
      bar.show("all texts", done, total);
      return !interrupts.take();
    };
    request.merging = [&] { return !interrupts.take(); };
    trained = make_tokenizer(request);
  }
  if (trained.n_tokens < request.vocabulary)
    context.console.note(
        fmt::format("the texts have pairs for {} tokens only, not {}\n", trained.n_tokens, request.vocabulary));
  context.console.note(fmt::format("{}: {} tokens, {} merges, from {} different words of {}\n",
                                   cli::printable((folder / "tokenizer.json").string()), trained.n_tokens,
                                   trained.n_merges, trained.n_words, cli::bytes_text(trained.n_bytes)));
  return cli::exit_ok;
}

}  // namespace

void add_tokenizer(CLI::App& program, cli::Context& context) {
  CLI::App* tokenizer = cli::add_verb(program, "tokenizer", "Make a tokenizer",
                                      "moebox tokenizer train --vocabulary 8192 --out tokenizer/ texts/*.txt");
  tokenizer->require_subcommand(0, 1);
  CLI::App* verb = cli::add_verb(
      *tokenizer, "train", "Learn a byte-level BPE from texts, as Hugging Face's trainer would",
      "moebox tokenizer train --vocabulary 8192 --out tokenizer/ book.txt more.jsonl\n"
      "moebox tokenizer train --vocabulary 32000 --out tokenizer/ --special '<|im_start|>,<|im_end|>' recipe.toml");
  auto request = std::make_shared<TokenizerRequest>();
  std::string families;
  for (const std::string_view name : pre_tokenizer_names()) families.append(families.empty() ? "" : ", ").append(name);
  verb->add_option("INPUT", request->inputs, "files and folders, or a recipe for data (.toml)")
      ->required()
      ->type_name("");
  verb->add_option("--vocabulary", request->vocabulary, "tokens in all, bytes and special tokens included")
      ->required()
      ->check(CLI::Range(std::size_t{257}, std::size_t{1} << 20))
      ->type_name("N");
  verb->add_option("--out", request->out, "folder that gets tokenizer.json and tokenizer_config.json")
      ->required()
      ->type_name("FOLDER");
  verb->add_option("--end-token", request->end_token, "special token that ends a text [<|endoftext|>]")
      ->type_name("TEXT");
  verb->add_option("--special", request->special_tokens, "further special tokens, comma separated")
      ->delimiter(',')
      ->allow_extra_args(false)  // what follows are texts
      ->type_name("LIST");
  verb->add_option("--chat-template", request->chat_template,
                   "a Jinja file that goes with the tokenizer: how a conversation is written")
      ->type_name("FILE");
  verb->add_option("--pre-tokenizer", request->pre_tokenizer, "what cuts texts into words [qwen2]; one of " + families)
      ->type_name("NAME");
  verb->add_option("--min-frequency", request->min_frequency, "rarer pairs are not merged [0]")->type_name("N");
  verb->add_flag("--by-line", request->by_line, "look at each line by itself, as Hugging Face's train(files) does");
  verb->add_flag("--force", request->force, "replace a tokenizer at --out");
  cli::add_settings(verb, context, {"threads"});
  cli::on_chosen(verb, context, [&context, request] { return run_train(context, *request); });
}

}  // namespace moebox::data
