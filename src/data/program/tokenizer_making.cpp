#include "data/program/tokenizer_making.h"

#include <filesystem>

#include "base/error.h"
#include "chat/chat_template.h"
#include "data/program/recipe_file.h"
#include "io/mapped_file.h"
#include "io/output_file.h"
#include "tokenizer/tokenizer.h"

namespace moebox::data {
namespace {

namespace fs = std::filesystem;

void write_tokenizer_file(const fs::path& path, const std::string& text, bool replace) {
  OutputFile file(path, replace);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

std::string lines_of(const nlohmann::ordered_json& document) { return document.dump(1, ' ', false) + "\n"; }

/// Empty where none is asked for. One that does not parse is refused before anything is read.
std::string read_template(const TokenizerRequest& request) {
  if (request.chat_template.empty()) return {};
  const MappedFile file(request.chat_template);
  std::string source(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  ChatTemplate(source, "", request.end_token);
  return source;
}

}  // namespace

TrainedTokenizer make_tokenizer(const TokenizerRequest& request) {
  const fs::path folder = request.out;
  if (!request.force && fs::exists(folder / "tokenizer.json"))
    throw Error(ErrorKind::invalid_argument, "is there already", (folder / "tokenizer.json").string(),
                "--force replaces it");
  const std::string chat_template = read_template(request);
  TokenizerTrainingOptions options;
  options.sources = request.inputs.size() == 1 && request.inputs[0].ends_with(".toml")
                        ? read_recipe(request.inputs[0]).options.sources
                        : recipe_of(request.inputs, "text").options.sources;
  options.pre_tokenizer = request.pre_tokenizer;
  options.by_line = request.by_line;
  options.n_threads = request.n_threads;
  options.bpe.vocabulary_size = request.vocabulary;
  options.bpe.min_frequency = request.min_frequency;
  options.bpe.special_tokens = request.special_tokens;
  std::erase(options.bpe.special_tokens, request.end_token);
  options.bpe.special_tokens.insert(options.bpe.special_tokens.begin(), request.end_token);
  options.progress = request.reading;
  if (request.merging) options.bpe.progress = [&](std::size_t) { return request.merging(); };
  TrainedTokenizer trained = train_tokenizer(options);
  fs::create_directories(folder);
  const nlohmann::ordered_json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                                         {"eos_token", request.end_token},
                                         {"pad_token", request.end_token},
                                         {"add_prefix_space", false},
                                         {"clean_up_tokenization_spaces", false}};
  // What is written is what our own reader takes.
  Tokenizer::from_json(trained.document.dump(), config.dump());
  write_tokenizer_file(folder / "tokenizer.json", lines_of(trained.document), request.force);
  write_tokenizer_file(folder / "tokenizer_config.json", lines_of(config), request.force);
  if (!chat_template.empty()) write_tokenizer_file(folder / "chat_template.jinja", chat_template, request.force);
  return trained;
}

}  // namespace moebox::data
