// From texts to a tokenizer.json: a byte-level BPE with the pre-tokenizer of a known family.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/build/bpe_trainer.h"
#include "data/build/document.h"
#include "data/build/source.h"

namespace moebox::data {

struct TokenizerTrainingOptions {
  std::vector<SourceOptions> sources;
  /// One of pre_tokenizer_names(): "gpt-2", "qwen2", "llama-bpe", "deepseek-v3" ...
  std::string pre_tokenizer = "qwen2";
  /// Texts are looked at line by line, each with its line end, as Hugging Face's train(files) does; otherwise whole, so
  /// that blank lines and indentation become tokens, too.
  bool by_line = false;
  BpeTrainerOptions bpe;
  RecordLimits limits;
  InvalidUtf8 invalid_utf8 = InvalidUtf8::replace;
  int n_threads = 0;
  std::function<bool(std::uint64_t, std::uint64_t)> progress = {};  // bytes read, of all files; false: Error(cancelled)
};

struct TrainedTokenizer {
  nlohmann::ordered_json document;  // of tokenizer.json
  std::size_t n_tokens = 0, n_merges = 0, n_words = 0;
  std::uint64_t n_bytes = 0;  // of text
};

/// Throws Error: invalid_argument, unsupported for a pre-tokenizer that is not known, not_found, io.
TrainedTokenizer train_tokenizer(const TokenizerTrainingOptions& options);

/// What tokenizer.json says of such a tokenizer, without a vocabulary: normalizer, pre-tokenizer, decoder, options.
nlohmann::ordered_json tokenizer_frame(const std::string& pre_tokenizer);

}  // namespace moebox::data
