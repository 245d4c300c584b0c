// Models of a Hugging Face hub: its resolve endpoint and its listing API, spoken as its own client does.
//
//   HEAD {endpoint}/{owner}/{repo}/resolve/{revision}/{file}   X-Repo-Commit, X-Linked-Etag, X-Linked-Size, ETag,
//   Location GET  {endpoint}/api/models/{owner}/{repo}/revision/{revision}?blobs=true   {"sha", "siblings":
//   [{"rfilename", "size", ...}]}
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hub/hub.h"
#include "hub/source.h"
#include "hub/store.h"

namespace moebox {

/// Fetches `source` to `place`; the caller holds the lock. A size of 0 and an empty sha256 are not compared with what
/// the hub says. Throws Error: not_found (repository, revision, file), invalid_argument (which of several files?),
/// network, io, cancelled.
void pull_hf(const HfSource& source, const Place& place, std::uint64_t size_bytes, const std::string& sha256,
             const HubOptions& options, const PullProgress& progress);

/// The files of a repository that make up a model folder: configuration, tokenizer, templates and weights as
/// safetensors, of its top folder only. Empty when it is no such repository.
std::vector<std::string> model_folder_files(const std::vector<std::string>& files);

/// The GGUF models of a repository, the first part of those that are split.
std::vector<std::string> gguf_models(const std::vector<std::string>& files);

}  // namespace moebox
