// Packed weights that are kept in a file beside the model (docs/memory.md): what may be asked of load_model(), and the
// functions that write such a file and tell of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace moebox {

class Checkpoint;
class ThreadTeam;
struct ModelOptions;

enum class PackFileUse : std::uint8_t {
  off,        // weights are packed in memory
  automatic,  // a pack file that holds is mapped; one is written only where an expert cache needs it
  write,      // the same, and one is written where none holds
};

/// A file of packed weights: "<model file>.moebox-pack", or "weights.moebox-pack" in a folder.
struct PackFileState {
  std::filesystem::path path;  // of the file that is used, or else of the one that would be written first
  std::uint64_t bytes = 0;     // of the whole file
  bool usable = false;         // it is there, and belongs to this model and this program; its content was not read
  std::string reason;          // why not; empty where no file is there
};

/// Places where a model's pack file may be, best first: beside the model (its first file, or its folder), then in the
/// user's cache folder (XDG_CACHE_HOME, or ~/.cache).
std::vector<std::filesystem::path> pack_file_places(const std::filesystem::path& model);
std::vector<std::filesystem::path> pack_file_places(const Checkpoint& checkpoint);

/// Throws Error as load_model() does for what is wrong with the checkpoint.
PackFileState pack_file_state(const Checkpoint& checkpoint, const ModelOptions& options);

struct PackWriteOptions {
  std::filesystem::path path;  // empty: the first of the places that can be written
  bool replace = false;        // also a file that holds
  /// Called now and then; false stops: Error(cancelled), and no file is left.
  std::function<bool(std::uint64_t done_bytes, std::uint64_t total_bytes)> progress;
};

/// Packs the weights into a file that load_model() will map. In memory is one matrix, or one expert, at a time. A file
/// that holds is left as it is unless `replace`. Throws Error(io) where it cannot be written.
PackFileState write_pack_file(const Checkpoint& checkpoint, ThreadTeam& team, const ModelOptions& options,
                              const PackWriteOptions& write);

}  // namespace moebox
