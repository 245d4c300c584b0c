// Typed look-ups in a GGUF file's metadata, with errors that name the key: ConfigReader's counterpart.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include <fmt/core.h>

#include "base/error.h"
#include "io/checkpoint.h"
#include "routing/gate.h"
#include "spec/limits.h"

namespace moebox {

/// What GGUF calls a gate's numbers, behind `<architecture>.`.
inline constexpr GateFieldNames gguf_gate_names = {"expert_count",
                                                   "expert_used_count",
                                                   "expert_group_count",
                                                   "expert_group_used_count",
                                                   "expert_weights_scale",
                                                   "expert_gating_attention",
                                                   "expert_gating_attention.key_length"};

/// Reads `<architecture>.<name>`. A missing key takes the fallback, or is an Error when there is none.
class GgufReader {
 public:
  GgufReader(const Checkpoint& checkpoint, const std::string& architecture)
      : checkpoint_(checkpoint), prefix_(architecture + ".") {}

  std::string key(const char* name) const { return prefix_ + name; }
  bool has(const char* name) const { return checkpoint_.find(key(name)) != nullptr; }

  /// An integer in [low, high].
  int integer(const char* name, int low, int high, std::optional<std::int64_t> fallback = {}) const {
    const std::int64_t value = checkpoint_.integer(key(name), fallback);
    if (value < low || value > high)
      throw Error(
          ErrorKind::invalid_file,
          "expected " + std::to_string(low) + " to " + std::to_string(high) + ", found " + std::to_string(value),
          key(name));
    return static_cast<int>(value);
  }
  /// A number in [low, high]; in any case one that a float holds.
  float number(const char* name, float low, float high, std::optional<float> fallback = {}) const {
    const double value = checkpoint_.number(key(name), fallback);
    if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)))
      throw Error(ErrorKind::invalid_file,
                  fmt::format("expected a number from {:g} to {:g}, found {:g}", low, high, value), key(name));
    return static_cast<float>(value);
  }
  float number(const char* name, std::optional<float> fallback = {}) const {
    return number(name, std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max(), fallback);
  }
  bool boolean(const char* name, std::optional<bool> fallback = {}) const {
    return checkpoint_.boolean(key(name), fallback);
  }

  /// Rows of the embedding: the size of the vocabulary, which GGUF states nowhere else.
  int vocab_size() const {
    const TensorView& embedding = checkpoint_.tensor("token_embd.weight");
    if (embedding.rank != 2 || embedding.shape[0] < 1 || embedding.shape[0] > max_vocabulary)
      throw Error(ErrorKind::invalid_file,
                  "expected a matrix (vocab_size, hidden_size), found " + shape_text(embedding), embedding.name);
    return static_cast<int>(embedding.shape[0]);
  }

 private:
  const Checkpoint& checkpoint_;
  const std::string prefix_;
};

}  // namespace moebox
