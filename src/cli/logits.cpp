// moebox logits: the logits of given tokens as a NumPy file, for comparing with other software.
#include <memory>

#include <fmt/core.h>

#include "base/checked.h"
#include "base/error.h"
#include "cli/evaluation.h"
#include "cli/exit_code.h"
#include "cli/model_source.h"
#include "cli/token_ids.h"
#include "cli/verbs.h"
#include "cli/writable.h"
#include "io/npy.h"

namespace moebox::cli {
namespace {

struct LogitsOptions {
  std::string model, ids, ids_file, text, out;
  bool last = false;
};

void check_source(const LogitsOptions& options) {
  const int given = int{!options.ids.empty()} + int{!options.ids_file.empty()} + int{!options.text.empty()};
  if (given != 1) throw Error(ErrorKind::invalid_argument, "expected exactly one of --ids, --file and --text");
}

std::vector<TokenId> token_ids(const LogitsOptions& options, const Evaluation& evaluation) {
  const ModelInfo& info = evaluation.model().info();
  std::vector<TokenId> ids;
  if (!options.text.empty()) {
    ids = evaluation.tokenizer().encode(options.text, true);
  } else {
    ids = parse_token_ids(options.ids.empty() ? read_all(options.ids_file) : options.ids, info.vocab_size);
  }
  if (ids.empty() || ids.size() > static_cast<std::size_t>(info.max_context)) {
    throw Error(ErrorKind::invalid_argument,
                fmt::format("expected from 1 to {} tokens, found {}", info.max_context, ids.size()), "token ids");
  }
  return ids;
}

/// Before anything is computed.
void check_target(const Context& context, const LogitsOptions& options) {
  if (options.out != "-") return check_writable(options.out);
  if (context.console.output_is_terminal())
    throw Error(ErrorKind::invalid_argument, "expected a file or a pipe, found a terminal", "--out -");
}

int logits(const Context& context, const LogitsOptions& options) {
  check_source(options);
  check_target(context, options);
  Hub hub = make_hub(context);
  Evaluation evaluation(context.settings, fetch(context, hub, options.model));
  const std::vector<TokenId> ids = token_ids(options, evaluation);
  const auto vocab = static_cast<std::size_t>(evaluation.model().info().vocab_size);
  const std::size_t n_rows = options.last ? 1 : ids.size();
  const std::size_t first_row = ids.size() - n_rows;
  evaluation.reserve(static_cast<int>(ids.size()));
  std::vector<float> values(checked_mul(n_rows, vocab, "logits"));
  evaluation.run(ids, [&](int first_position, std::span<const float> rows, std::size_t) {
    for (std::size_t row = 0; row * vocab < rows.size(); ++row) {
      const std::size_t position = static_cast<std::size_t>(first_position) + row;
      if (position < first_row) continue;
      const auto source = rows.subspan(row * vocab, vocab);
      std::copy(source.begin(), source.end(),
                values.begin() + static_cast<std::ptrdiff_t>((position - first_row) * vocab));
    }
  });
  const std::int64_t shape[] = {static_cast<std::int64_t>(n_rows), static_cast<std::int64_t>(vocab)};
  const bool to_stdout = options.out == "-";
  if (to_stdout) {
    context.console.out(float32_npy_head(shape));
    context.console.out({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  } else {
    write_npy(options.out, values, shape);
  }
  context.console.note(
      fmt::format("{}: float32 ({}, {})\n", to_stdout ? "standard output" : options.out, n_rows, vocab));
  return exit_ok;
}

}  // namespace

void add_logits(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "logits", "The logits of given tokens as a NumPy file (n_tokens, vocab_size)",
                            "moebox logits smollm2-135m-instruct --ids 1,2,3 --out logits.npy\n"
                            "moebox logits ./model.gguf --file ids.txt --out logits.npy --last\n"
                            "python3 -c 'import numpy; print(numpy.load(\"logits.npy\").argmax(-1))'");
  auto options = std::make_shared<LogitsOptions>();
  verb->add_option("MODEL", options->model, "name, file or folder")->required()->type_name("");
  verb->add_option("--ids", options->ids, "token ids: 1,2,3")->type_name("IDS");
  verb->add_option("--file", options->ids_file, "token ids from a file; - is standard input")->type_name("FILE");
  verb->add_option("--text", options->text, "the tokens of a text")->type_name("TEXT");
  verb->add_option("-o,--out", options->out, "the .npy file that is written; - is standard output")
      ->required()
      ->type_name("FILE");
  verb->add_flag("--last", options->last, "only the last token's logits");
  add_settings(verb, context, {"threads", "kv_type", "pack_file", "expert_cache", "isa"});
  on_chosen(verb, context, [&context, options] { return logits(context, *options); });
}

}  // namespace moebox::cli
