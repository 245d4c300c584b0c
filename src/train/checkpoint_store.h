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
  static constexpr std::uint64_t default_file_bytes = std::uint64_t{256} << 20;

  explicit CheckpointStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Writes under another name, makes it durable, and renames; one of the same step is replaced. A file has about
  /// `file_bytes` at most, but a tensor is never cut. Throws Error(io); all that was there before stays.
  void write(const Snapshot& snapshot, std::uint64_t file_bytes = default_file_bytes) const;
  /// The same in pieces, for several writers of one checkpoint. First the first one makes the folder;
  void begin(std::int64_t step) const;
  /// then everyone writes files; their record is what commit() wants of all writers together;
  nlohmann::ordered_json write_files(std::int64_t step, const std::vector<NamedTensor>& tensors, int writer,
                                     std::uint64_t file_bytes = default_file_bytes) const;
  /// then the first one ends it, in one of two ways.
  void commit(std::int64_t step, const nlohmann::ordered_json& facts, const nlohmann::ordered_json& files) const;
  void abandon(std::int64_t step) const noexcept;
  /// Those that are there, ascending. Whether they are sound is not known.
  std::vector<std::int64_t> steps() const;
  /// Checks manifest and files by their checksums and returns the facts. Throws Error that names the file.
  nlohmann::json check(std::int64_t step) const;
  /// The same, and then copies into every tensor of `into` the one of its name; before all is known to fit nothing is
  /// changed. There may be more.
  nlohmann::json read(std::int64_t step, const std::vector<NamedTensor>& into) const;
  void keep_newest(int n) const;
  /// Removes those of later steps: a run that went back does not go on from them.
  void remove_after(std::int64_t step) const;
  /// Removes what a process that was killed left of the one that it wrote.
  void remove_unfinished() const;
  std::filesystem::path place(std::int64_t step) const;

 private:
  struct Files;
  std::filesystem::path unfinished(std::int64_t step) const;
  Files open(std::int64_t step) const;

  const std::filesystem::path folder_;
};

}  // namespace moebox::train
