// The OpenAI-compatible HTTP server: `moebox serve` as a library. docs/server.md is its manual.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "server/options.h"

namespace moebox {

class Server {
 public:
  /// Checks the options, reads the certificate and listens. Throws Error: invalid_argument for options that contradict
  /// each other or would be unsafe, io when the address cannot be had.
  explicit Server(ServerOptions options);
  /// run() must have returned, or not been called.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// The port that is listened on, also before run().
  std::uint16_t port() const noexcept;
  /// "http://127.0.0.1:8080" or "https://...".
  std::string url() const;

  /// Serves until a signal, drain() or stop(); returns when all is closed. Call it once. A second run() is an
  /// Error(invalid_argument).
  void run();
  /// No new work: requests that run may finish within ServerOptions::drain_time, others get a 503, and so does /ready.
  /// Thread safe.
  void drain();
  /// Cancels what runs and closes everything. Thread safe.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moebox
