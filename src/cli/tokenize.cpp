// moebox tokenize: text -> token ids, and back.
#include <charconv>
#include <memory>

#include <fmt/core.h>
#include <fmt/format.h>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/model_source.h"
#include "cli/token_ids.h"
#include "cli/verbs.h"
#include "tokenizer/tokenizer.h"

namespace moebox::cli {
namespace {

struct TokenizeOptions {
  std::string model, file;
  std::vector<std::string> words;
  bool decode = false, special = false, add_special = false, json = false, count = false;
};

std::string input(const TokenizeOptions& options) {
  if (!options.file.empty()) return read_all(options.file);
  if (!options.words.empty()) return fmt::format("{}", fmt::join(options.words, " "));
  return read_all("-");
}

void print_ids(const Console& console, const Tokenizer& tokenizer, const std::vector<TokenId>& ids,
               const TokenizeOptions& options) {
  if (options.count) return console.out(fmt::format("{}\n", ids.size()));
  if (options.json) {
    nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
    for (const TokenId id : ids) tokens.push_back({{"id", id}, {"text", std::string(tokenizer.token_bytes(id, true))}});
    const nlohmann::ordered_json object = {{"count", ids.size()}, {"ids", ids}, {"tokens", tokens}};
    return console.out(json_text(object) + "\n");
  }
  console.out(fmt::format("{}\n", fmt::join(ids, " ")));
}

int tokenize(const Context& context, const TokenizeOptions& options) {
  const std::string text = input(options);
  Hub hub = make_hub(context);
  const auto tokenizer = Tokenizer::load(fetch(context, hub, options.model));
  if (!options.decode) {
    print_ids(context.console, *tokenizer, tokenizer->encode(text, options.add_special, options.special), options);
    return exit_ok;
  }
  const std::vector<TokenId> ids = parse_token_ids(text, tokenizer->vocab_size());
  const std::string decoded = tokenizer->decode(ids, options.special);
  if (options.json) {
    const nlohmann::ordered_json object = {{"count", ids.size()}, {"text", decoded}};
    context.console.out(json_text(object) + "\n");
  } else {
    context.console.out(context.console.output_is_terminal() ? printable(decoded) + "\n" : decoded);
  }
  return exit_ok;
}

}  // namespace

void add_tokenize(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "tokenize", "Text to token ids, and back",
                            "moebox tokenize smollm2-135m-instruct \"Hello, world\"\n"
                            "moebox tokenize smollm2-135m-instruct --file book.txt --count\n"
                            "moebox tokenize smollm2-135m-instruct --special --json \"<|im_start|>user\"\n"
                            "moebox tokenize smollm2-135m-instruct --decode \"19556 28 905\"");
  auto options = std::make_shared<TokenizeOptions>();
  verb->add_option("MODEL", options->model, "name, file or folder")->required()->type_name("");
  verb->add_option("TEXT", options->words, "text, or ids with --decode; standard input without")->type_name("");
  verb->add_option("--file", options->file, "take it from a file; - is standard input")->type_name("FILE");
  verb->add_flag("--decode", options->decode, "ids to text");
  verb->add_flag("--special", options->special,
                 "special tokens written in the text count; with --decode they are shown");
  verb->add_flag("--add-special", options->add_special, "add what the model puts around a text (BOS, EOS)");
  verb->add_flag("--count", options->count, "print the number of tokens alone");
  verb->add_flag("--json", options->json, "print a JSON object");
  on_chosen(verb, context, [&context, options] { return tokenize(context, *options); });
}

}  // namespace moebox::cli
