// The folder of models: which file or folder stands for which source, what is there, what goes away. Fetches nothing.
//
//   <store>/<file>                                 entries of the catalogue, and what a person put there
//   <store>/hf/<owner>/<repo>/<revision>/files/    single files of a hub's repository
//   <store>/hf/<owner>/<repo>/<revision>/folder/   a whole repository
//   <store>/pip/<hash of the source>/              a wheel's model, with the source as text beside it
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/hub.h"
#include "hub/source.h"

namespace moebox {

/// Where one source lives in the store. `file` is empty where the source is a whole repository whose kind is not known
/// yet.
struct Place {
  std::filesystem::path file;    // a single file
  std::filesystem::path folder;  // a whole repository as a folder; empty when the source cannot be one
  std::filesystem::path chosen;  // a note of which file of a repository was taken; empty when there is no choice
  std::filesystem::path lock;
  std::filesystem::path owned_folder;  // removed with the model; empty for a catalogue's entry
};

class Store {
 public:
  explicit Store(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const noexcept { return root_; }

  /// The place of a catalogue's entry that is not a path.
  Place place_of(const CatalogueEntry& entry) const;
  Place place_of(const HfSource& source) const;
  Place place_of(const PipSource& source, std::string_view text) const;
  /// The place of a file or folder that lies directly in the store; nothing when `name` is no such name.
  std::optional<Place> place_of_name(std::string_view name) const;

  /// The model at `place` when all of it is there. `size_bytes` 0 takes any size.
  static std::optional<std::filesystem::path> find(const Place& place, std::uint64_t size_bytes);
  /// Deletes the model and what interrupted pulls left of it. Returns whether there was anything. The caller holds the
  /// lock.
  bool remove(const Place& place) const;

  std::vector<StoredModel> list(const std::vector<CatalogueEntry>& catalogue) const;

 private:
  std::filesystem::path root_;
};

/// All parts of a split GGUF whose first part is `name` ("x-00001-of-00003.gguf"); otherwise `name` alone.
std::vector<std::string> split_parts(const std::string& name);

/// Bytes of a file, or of all files in a folder.
std::uint64_t bytes_at(const std::filesystem::path& path);

}  // namespace moebox
