// What a server may be told: addresses, models, keys, limits. Plain data with safe defaults; nothing of how it works.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "language_model/language_model.h"

namespace moebox {

class Backend;

/// A model that clients may name. It is loaded by the first request that asks for it.
struct ServedModel {
  std::string name;                  // its id in /v1/models
  std::filesystem::path path;        // a .gguf or a folder
  std::vector<std::string> aliases;  // further names that requests may use
  RoutingBudget budget{};            // on a token's experts, for requests that bring none; a dense model takes none
  std::optional<LanguageModelOptions> options{};  // instead of ServerOptions::model
};

/// Who may call. Only the SHA-256 of the key is kept.
struct ApiKey {
  std::string name;    // goes into logs and metrics; never the key
  std::string sha256;  // 32 bytes
};

/// Reads keys, one a line: "name:key" or "name:sha256:<64 hex digits>"; empty lines and lines that begin with # are
/// passed over. Throws Error(invalid_file) with the line for an empty name, an empty key or a name that comes twice;
/// the key itself is never shown.
std::vector<ApiKey> read_key_file(const std::filesystem::path& path);
/// The key in MOEBOX_API_KEY, named "environment"; empty when the variable is not set. Throws Error when it is set but
/// blank.
std::vector<ApiKey> keys_from_environment();

/// Every limit that a client can run into, and the status that says so.
struct ServerLimits {
  std::size_t header_bytes = 16u << 10;                // 431
  int header_fields = 100;                             // 431
  std::size_t body_bytes = 4u << 20;                   // 413
  std::chrono::milliseconds header_time{10'000};       // from a request's first byte to the end of its header: 408
  std::chrono::milliseconds body_time{30'000};         // for the whole body: 408
  std::chrono::milliseconds idle_time{75'000};         // between requests of one connection
  std::chrono::milliseconds write_stall_time{30'000};  // a reader that takes nothing for so long is dropped
  std::size_t unsent_bytes = 1u << 20;                 // of one connection; a reader that falls back further is dropped
  int connections = 1024;                              // 503
  int connections_per_address = 256;                   // 503
  int requests_in_flight = 512;                        // 429
  int prompt_tokens = 0;                               // 400; 0: what the context holds
  int output_tokens = 0;                               // 400; 0: what the context leaves
  int choices = 128;                                   // prompts times n of one request: 400
  int stop_strings = 16;                               // 400
  int stop_string_bytes = 256;                         // 400
  int top_logprobs = 20;                               // 400
  int template_variables = 64;                         // names in chat_template_kwargs: 400
  int json_depth = 64;                                 // 400
  int json_values = 1'000'000;                         // 400
};

struct ServerOptions {
  std::string host = "127.0.0.1";  // an address, or "localhost"
  std::uint16_t port = 8080;       // 0: any free one; Server::port() tells which
  /// Listening beyond loopback without a key is refused unless both are set: it must be said twice.
  bool allow_open = false;
  bool allow_open_again = false;

  std::vector<ServedModel> models;                // the first one answers requests that name no model
  LanguageModelOptions model;                     // for all of them
  std::chrono::milliseconds keep_alive{300'000};  // an idle model is unloaded after so long; negative: never
  int max_loaded_models = 0;                      // the least recently used idle one makes room; 0: no limit
  bool load_at_start = false;                     // load all models before /ready says yes

  bool share_prefixes = false;     // among keys: how long an answer takes then tells of others' prompts
  std::vector<ApiKey> keys;        // empty: no key is asked for
  double requests_per_minute = 0;  // per key; 0: no limit
  double tokens_per_minute = 0;    // per key, prompt and answer together; 0: no limit

  std::filesystem::path tls_certificate;  // PEM, the chain; TLS when both are set
  std::filesystem::path tls_key;          // PEM

  std::vector<std::string> cors_origins;  // exact origins, or "*"; empty: no CORS
  std::vector<std::string>
      allowed_hosts;  // further names in Host that a server without keys answers to (against DNS rebinding)
  ServerLimits limits;
  std::chrono::milliseconds drain_time{30'000};  // running requests may take so long after the first signal
  std::chrono::milliseconds ping_time{10'000};   // an SSE comment goes out after so long without an event
  bool handle_signals = true;                    // SIGTERM and SIGINT drain; a second one stops
  bool log_prompts = false;                      // prompts and answers into the log: only for debugging
  int io_threads = 2;
  int worker_threads = 2;  // parse, render and tokenize

  /// How a model is loaded; tests put their own here. Default: load_backend of backend.h.
  std::function<std::shared_ptr<Backend>(const ServedModel&, const LanguageModelOptions&)> loader;
};

}  // namespace moebox
