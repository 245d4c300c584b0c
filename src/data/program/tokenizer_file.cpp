#include "data/program/tokenizer_file.h"

#include <filesystem>

#include "base/error.h"
#include "cli/hub_access.h"
#include "io/checkpoint.h"

namespace moebox::data {
namespace {

/// A folder of a tokenizer alone: no weights, so no checkpoint.
NamedTokenizer load_folder(const std::filesystem::path& folder) {
  NamedTokenizer named{Tokenizer::load(folder / "tokenizer.json"), nullptr};
  if (auto found = ChatTemplate::find_in_folder(folder, *named.tokenizer))
    named.chat_template = std::make_shared<const ChatTemplate>(std::move(*found));
  return named;
}

}  // namespace

NamedTokenizer load_tokenizer(const cli::Context& context, const std::string& name) {
  if (name.empty())
    throw Error(ErrorKind::invalid_argument, "expected the tokenizer: a model's name, file or folder", "tokenizer",
                "write it in the recipe, or give --tokenizer");
  const std::filesystem::path path = name;
  if (path.filename() == "tokenizer.json" || std::filesystem::exists(path)) return load_tokenizer(path);
  Hub hub = cli::make_hub(context);
  return load_tokenizer(cli::fetch(context, hub, name));
}

NamedTokenizer load_tokenizer(const std::filesystem::path& path) {
  if (path.filename() == "tokenizer.json") return load_folder(path.parent_path());
  if (std::filesystem::is_directory(path) && !std::filesystem::exists(path / "config.json")) return load_folder(path);
  const Checkpoint checkpoint = Checkpoint::open(path);
  NamedTokenizer named{Tokenizer::load(checkpoint), nullptr};
  if (ChatTemplate::available(checkpoint))
    named.chat_template = std::make_shared<const ChatTemplate>(ChatTemplate::load(checkpoint, *named.tokenizer));
  return named;
}

}  // namespace moebox::data
