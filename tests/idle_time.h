// Answers of models with latent attention become prompt in idle time: tests that look at the cache wait for it.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#include "runtime/engine.h"

namespace moebox::test {

/// Whether so many tokens of answers have been computed as prompt, in all; waits until there are.
inline bool idle_time_was_used(const Engine& engine, std::uint64_t n_tokens) {
  for (int i = 0; i < 3000 && engine.stats().idle_prompt_tokens < n_tokens; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return engine.stats().idle_prompt_tokens == n_tokens;
}

/// Of an answer whose prompt is in the cache.
inline std::uint64_t idle_tokens_of(std::size_t n_prompt, std::size_t n_answer) {
  constexpr std::size_t block = kv_block_tokens;
  return ((n_prompt + n_answer) / block - n_prompt / block) * block;
}

}  // namespace moebox::test
