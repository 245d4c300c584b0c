// The folder RUN/checkpoints: every checkpoint is a folder of it with a manifest and safetensors files, and is there
// whole or not at all. It knows no trainer: facts and tensors go in, and come back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "train/weights.h"

namespace moebox::train {

struct Snapshot {
  std::int64_t step = 0;
  nlohmann::ordered_json facts;
  std::vector<NamedTensor> tensors;
};

class CheckpointStore {
 public:
  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Writes under another name, makes it durable, and renames; one of the same step is replaced. A file has about
  /// `file_bytes` at most, but a tensor is never cut. Throws Error(io); all that was there before stays.
  void write(const Snapshot& snapshot, std::uint64_t file_bytes = std::uint64_t{256} << 20) const;
  /// Those that are there, ascending. Whether they are sound is not known.
  std::vector<std::int64_t> steps() const;
  /// Checks manifest and files by their checksums and returns the facts. Throws Error that names the file.
  nlohmann::json check(std::int64_t step) const;
  /// The same, and then copies every tensor into the one of its name; before all is known to fit nothing is changed.
  nlohmann::json read(std::int64_t step, const std::vector<NamedTensor>& into) const;
  void keep_newest(int n) const;
  /// Removes those of later steps: a run that went back does not go on from them.
  void remove_after(std::int64_t step) const;
  std::filesystem::path place(std::int64_t step) const;

 private:
  struct Files;
  Files open(std::int64_t step) const;

  const std::filesystem::path folder_;
};

}  // namespace moebox::train
