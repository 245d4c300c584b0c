// What bounds a model on this machine, in words: from measurements to sentences, and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/optimize_trial.h"

namespace moebox::cli {

struct Observation {
  ModelInfo model;
  Speeds speeds;                     // medians
  double int8_drift = 1;             // largest over smallest multiplying speed of the rounds
  double stolen_share = 0;           // of the processors' time, taken by the host
  double multiply_adds = 0;          // of the matrices, for a token of a prompt
  std::uint64_t file_bytes = 0;      // of the model's files
  bool packed_file = false;          // packed weights were mapped
  int streams = 8;                   // answers at once, as measured
  std::uint64_t swapped_bytes = 0;   // of this process
  std::int64_t context_tokens = 0;   // that memory allows by the settings
  std::uint64_t kv_bytes_token = 0;  // of the cache
};

struct Finding {
  std::string topic, text;
};

std::vector<Finding> findings(const Observation& seen);

}  // namespace moebox::cli
