// From texts to a tokenizer's folder: what a person asks for, and the files that it becomes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/build/tokenizer_training.h"

namespace moebox::data {

struct TokenizerRequest {
  std::vector<std::string> inputs;  // one recipe for data (.toml), or files and folders
  std::string out, pre_tokenizer = "qwen2", end_token = "<|endoftext|>";
  std::string chat_template;                // a file with a Jinja template; empty: none
  std::vector<std::string> special_tokens;  // beside the end token
  std::size_t vocabulary = 0;
  std::uint64_t min_frequency = 0;
  bool by_line = false, force = false;
  int n_threads = 0;

  /// Called from the thread that makes the tokenizer; false ends the work with Error(cancelled).
  std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)> reading = {};
  std::function<bool()> merging = {};
};

/// Learns a tokenizer and writes tokenizer.json and tokenizer_config.json into the folder `out`, and
/// chat_template.jinja where one is given. Throws Error: invalid_argument when there is one and not `force`,
/// invalid_file for a template that does not parse, and as train_tokenizer() does.
TrainedTokenizer make_tokenizer(const TokenizerRequest& request);

}  // namespace moebox::data
