// Builds a data set: records of all sources -> documents -> filters -> tokens -> shards and manifest. Many threads work
// on records, one at a time reads them and one writes, in order: the result is the same bytes for any number of
// threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "data/build/counts.h"
#include "data/build/document.h"
#include "data/build/source.h"
#include "data/dataset.h"
#include "tokenizer/tokenizer.h"

namespace moebox::data {

/// What is done to texts, in this order. None of it but exact duplicates is done unless it is asked for.
struct FilterOptions {
  InvalidUtf8 invalid_utf8 = InvalidUtf8::replace;
  bool nfc = false;                         // Unicode's composed form (of conversations, too)
  bool mask_pii = false;                    // pii.h (of conversations, too)
  bool quality = false;                     // quality.h: prose, or code where the source is code
  std::vector<std::string> languages = {};  // ISO 639-1; others are dropped; empty: any. Not of code
  bool exact_duplicates = true;
  double near_duplicates = 0;     // similarity from which on texts are dropped (near_duplicates.h); 0: none
  bool drop_empty_masks = false;  // conversations of which nothing would be learnt: dropped; otherwise an error
};

struct BuildOptions {
  std::vector<SourceOptions> sources;
  std::shared_ptr<const Tokenizer> tokenizer;
  std::optional<TokenId> end_token;
  std::shared_ptr<const ChatTemplate> chat_template;  // where a source has messages
  std::filesystem::path out;                          // a folder that is not there yet
  bool replace = false;                               // of an earlier data set at `out`
  std::int64_t shard_tokens = std::int64_t{1} << 24;
  double held_out = 0;  // share of the documents that goes to the split held_out, by their content
  RecordLimits limits;
  FilterOptions filters;
  nlohmann::ordered_json settings;  // for the manifest: what a person asked for
  int n_threads = 0;
  /// Gets bytes read and bytes of all files, now and then, from any thread, one at a time; false ends the work with
  /// Error(cancelled).
  std::function<bool(std::uint64_t, std::uint64_t)> progress = {};
  /// Opens the sources of a format that this library does not read itself.
  std::function<std::unique_ptr<RecordReader>(const SourceOptions&, const RecordLimits&)> open_other = {};
};

struct BuildResult {
  Manifest manifest;
  std::vector<Counts> counts;  // of each domain, in the manifest's order
};

/// Writes the shards and the manifest into a folder beside `out`, which then takes that name: an interrupted or failed
/// build leaves nothing of itself, and the earlier data as they were. Throws Error that names option or file.
BuildResult build_dataset(const BuildOptions& options);

}  // namespace moebox::data
