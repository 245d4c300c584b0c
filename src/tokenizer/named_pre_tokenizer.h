// The pre-tokenizers that GGUF files name in tokenizer.ggml.pre.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

namespace moebox {

struct NamedPreTokenizer {
  PreTokenizer pre_tokenizer;
  std::unique_ptr<Normalizer> normalizer;  // may be null
  bool ignore_merges = false;
  bool add_bos = false;  // unless the file says otherwise
};

/// For byte-level BPE. Throws Error(unsupported) with the known names for another name.
NamedPreTokenizer make_named_pre_tokenizer(std::string_view name);

/// The same as tokenizer.json writes it: for those who make one.
struct PreTokenizerSpec {
  struct Step {
    std::string_view regex;  // of a Split, every match a piece of its own; empty: the step "Digits", each by itself
  };
  std::vector<Step> steps;
  bool nfc = false;
};
PreTokenizerSpec named_pre_tokenizer_spec(std::string_view name);

/// One name for each of them, which all readers of GGUF understand alike ("default" is not such a name).
std::vector<std::string_view> pre_tokenizer_names();

}  // namespace moebox
