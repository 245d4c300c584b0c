// One file over HTTP into the store: continued where it stopped, checked, tried again. Knows no hub.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "hub/backoff.h"
#include "hub/partial_file.h"
#include "hub/progress.h"
#include "net/http_client.h"

namespace moebox {

/// Where a file can be had now, and what it must be.
struct RemoteFile {
  ClientRequest request;  // without Range
  FileIdentity identity;
  bool link_expires = false;  // a refusal then means: ask for a new link
};

/// Fetches into `target`. `locate` is asked before every attempt, because links of a CDN expire; it throws
/// NetworkError, of which the retryable ones count as failed attempts. The reporter gets `done_before` plus what there
/// is of this file. Throws Error: network, io, cancelled, and what `locate` throws.
void download_file(const HttpClient& client, const std::function<RemoteFile()>& locate,
                   const std::filesystem::path& target, Backoff& backoff, ProgressReporter& reporter,
                   std::uint64_t done_before);

/// Throws what an answer that is neither 2xx nor a redirect means in general; retryable for 408, 429 and 5xx.
[[noreturn]] void fail_for_status(const ClientResponse& response);

}  // namespace moebox
