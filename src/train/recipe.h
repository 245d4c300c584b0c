// What a person asks for: one TOML file, read strictly and checked whole before anything is loaded. It knows no
// tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "routing/budget.h"
#include "train/schedule.h"
#include "train/upcycle_options.h"

namespace moebox::train {

struct ModelRecipe {
  std::filesystem::path config;      // config.json: sizes of a model that begins with random weights; or
  std::filesystem::path checkpoint;  // a folder or a GGUF file that it begins with
  std::filesystem::path tokenizer;   // a folder: its files go with the exported model
  std::uint64_t seed = 0;            // of random weights
  double deviation = 0.02;           // of random weights
  bool further_tokens = false;       // train the layers that predict further tokens
};

struct DataRecipe {
  std::filesystem::path folder;  // shards
  std::int64_t sequence_tokens = 0;
  std::int64_t sequences = 0;   // of a step, all its parts together
  std::int64_t accumulate = 1;  // parts of a step, one after the other: they divide the sequences
  std::uint64_t seed = 0;
};

struct LossRecipe {
  double balance = 0.0;    // weight of the sequence-wise balance loss
  double z = 0.0;          // of the z-loss
  double further = 0.1;    // of the loss of further tokens
  double bias_rate = 0.0;  // step of the gate's correction bias; 0: it stays
  std::int64_t chunk_tokens = 512;
};

struct OptimizerRecipe {
  bool muon = false;       // moves the layers' matrices; AdamW the rest
  double momentum = 0.95;  // of Muon
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.1;
  double clip = 1.0;        // longest gradient; 0: any
  double skip_above = 0.0;  // a step with a longer gradient is skipped; 0: any
  int max_skipped = 10;     // steps in a row; then the run goes back to a checkpoint
  int max_returns = 3;      // so often; then training ends
};

struct ParallelRecipe {
  int tensor = 1;                // neighbouring ranks that compute each layer of the same sequences together
  int expert = 1;                // neighbouring ranks, or groups of those, that hold each layer's experts together
  std::int64_t place_every = 0;  // steps between placements of experts by load; 0: they stay
  bool balance = false;          // quicker ranks get more of a step's sequences
  int timeout_seconds = 600;     // a rank that does not answer for so long counts as gone
};

struct CheckpointRecipe {
  std::int64_t every_steps = 0;   // 0: not by steps
  double every_minutes = 15;      // 0: not by time
  int keep = 2;                   // newest ones that stay
  std::int64_t digest_every = 1;  // steps between digests of all weights in the log
};

struct OutputRecipe {
  std::filesystem::path folder;  // the run: log, model
  bool bf16 = false;             // type of the exported folder
  std::string gguf;              // a type of `moebox convert`; empty: no GGUF
  std::int64_t log_every = 10;   // steps between lines of progress
  bool tensorboard = false;      // events beside the log
};

/// Type of the products; weights are float32 whatever it is.
enum class Products { f32, bf16, automatic };

struct Recipe {
  ModelRecipe model;
  UpcycleOptions upcycle;
  DataRecipe data;
  LossRecipe loss;
  RoutingBudget budget;
  OptimizerRecipe optimizer;
  Schedule schedule;  // the number of steps is in it
  ParallelRecipe parallel;
  CheckpointRecipe checkpoint;
  OutputRecipe output;
  Products products = Products::f32;
  int threads = 0;                      // 0: all processors
  bool gradient_checkpointing = false;  // layers are computed again in the backward pass

  std::filesystem::path file;  // where it was read, and its text: what can be checked, and done again, later
  std::string text;
  /// Every key that is no path, with its value as JSON, defaults included: "schedule.steps" -> "100".
  std::map<std::string, std::string> values;
};

/// Throws Error(invalid_argument) that names the key, its line, and what it could be: for an unknown key, another type,
/// a number out of range, a required key that is missing, and keys that do not go together. Paths are relative to the
/// recipe's folder.
Recipe parse_recipe(const std::string& text, const std::filesystem::path& file);
/// The same from a file. Throws Error(not_found) or Error(io), too.
Recipe read_recipe(const std::filesystem::path& file);

/// The folder of the tokenizer that goes with the model: the recipe's, or the checkpoint's own where that is a folder
/// with a tokenizer.json; empty: none.
std::filesystem::path tokenizer_folder(const ModelRecipe& model);

}  // namespace moebox::train
