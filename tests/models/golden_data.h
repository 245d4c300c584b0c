// Golden data of tests/golden and what is compared with it. Shared by the golden tests; computes nothing of a model
// itself.
#pragma once

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/checkpoint.h"
#include "io/npy.h"
#include "models/model.h"
#include "runtime/evaluate.h"

namespace moebox::test {

inline std::filesystem::path golden_dir() { return std::filesystem::path(MOEBOX_TEST_DIR) / "golden"; }

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return nlohmann::json::parse(in);
}

/// A model with its files and the threads that run it.
struct LoadedModel {
  LoadedModel(const std::filesystem::path& path, KvType kv_type, int n_threads)
      : checkpoint(Checkpoint::open(path)),
        team(n_threads),
        model(load_model(checkpoint, team, {.kv_type = kv_type})) {}

  int vocab_size() const { return model->info().vocab_size; }

  Checkpoint checkpoint;  // rows of an embedding may be read from the file
  ThreadTeam team;
  std::unique_ptr<const Model> model;
};

/// Logits (n_positions, vocab_size) of the given ascending positions of a text, computed `chunk` tokens at a time.
inline std::vector<float> logits_at(LoadedModel& loaded, std::span<const TokenId> tokens,
                                    std::span<const int> positions, int chunk) {
  const auto vocab = static_cast<std::size_t>(loaded.vocab_size());
  std::vector<float> wanted;
  auto next = positions.begin();
  evaluate(*loaded.model, loaded.team, tokens, chunk, [&](int first, std::span<const float> rows) {
    const int last = first + static_cast<int>(rows.size() / vocab);
    for (; next != positions.end() && *next < last; ++next) {
      const auto row = rows.subspan(static_cast<std::size_t>(*next - first) * vocab, vocab);
      wanted.insert(wanted.end(), row.begin(), row.end());
    }
  });
  return wanted;
}

inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  double largest = a.size() == b.size() ? 0 : INFINITY;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = difference <= largest ? largest : difference;  // NaN becomes the largest
    if (std::isnan(difference)) return INFINITY;
  }
  return largest;
}

/// RMS(a - b) / RMS(b).
inline double relative_rms(std::span<const float> a, std::span<const float> b) {
  double error = a.size() == b.size() ? 0 : INFINITY, size = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    error += difference * difference;
    size += static_cast<double>(b[i]) * static_cast<double>(b[i]);
  }
  return std::sqrt(error / size);
}

}  // namespace moebox::test
