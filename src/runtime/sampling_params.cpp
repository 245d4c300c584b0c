// Limits of the sampling fields.
#include <string>

#include <fmt/core.h>

#include "runtime/request.h"

namespace moebox {
namespace {

void check(bool good, const char* field, const char* expected, double found) {
  if (good) return;
  throw Error(ErrorKind::invalid_argument, fmt::format("expected {}, found {}", expected, found), field);
}

}  // namespace

void SamplingParams::validate(int vocab_size) const {
  check(temperature >= 0 && temperature <= 100, "temperature", "0 to 100", temperature);
  check(top_k >= 0, "top_k", "0 (all) or more", top_k);
  check(top_p > 0 && top_p <= 1, "top_p", "a number in (0, 1]", top_p);
  check(min_p >= 0 && min_p <= 1, "min_p", "0 to 1", min_p);
  check(typical_p > 0 && typical_p <= 1, "typical_p", "a number in (0, 1]", typical_p);
  check(repetition_penalty > 0 && repetition_penalty <= 100, "repetition_penalty", "a number in (0, 100]",
        repetition_penalty);
  check(frequency_penalty >= -100 && frequency_penalty <= 100, "frequency_penalty", "-100 to 100", frequency_penalty);
  check(presence_penalty >= -100 && presence_penalty <= 100, "presence_penalty", "-100 to 100", presence_penalty);
  check(n_logprobs >= -1 && n_logprobs <= 1000, "logprobs", "at most 1000", n_logprobs);
  for (const auto& [id, bias] : logit_bias) {
    check(id >= 0 && id < vocab_size, "logit_bias", "token ids of the vocabulary", id);
    check(bias >= -1000 && bias <= 1000, "logit_bias", "biases from -1000 to 1000", bias);
  }
}

}  // namespace moebox
