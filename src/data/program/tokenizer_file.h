// The tokenizer that a person names: a model by name, a file, or a folder.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "chat/chat_template.h"
#include "cli/context.h"
#include "tokenizer/tokenizer.h"

namespace moebox::data {

struct NamedTokenizer {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;  // null where the files carry none
};

/// `name`: a model of the store or the catalogue (which is fetched), a GGUF file, a folder, or a tokenizer.json. Throws
/// Error(not_found) for a name that is unknown, Error(invalid_argument) for an empty one.
NamedTokenizer load_tokenizer(const cli::Context& context, const std::string& name);

/// The same of files that are here: a GGUF file, a folder, or a tokenizer.json.
NamedTokenizer load_tokenizer(const std::filesystem::path& path);

}  // namespace moebox::data
