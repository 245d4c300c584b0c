// A server on a free port, with a model that answers as the test says.
#pragma once

#include <thread>

#include <nlohmann/json.hpp>

#include "fake_backend.h"
#include "raw_client.h"
#include "server/server.h"

namespace moebox::test {

inline ServerOptions test_options() {
  ServerOptions options;
  options.port = 0;
  options.handle_signals = false;
  options.models = {{"fake", "/no/such/path", {"alias"}}};
  options.drain_time = std::chrono::seconds(5);
  return options;
}

class TestServer {
 public:
  explicit TestServer(ServerOptions options = test_options(), FakeBehaviour behaviour = {}) {
    if (!options.loader) {
      options.loader = [this, behaviour](const ServedModel&, const LanguageModelOptions&) {
        auto backend = std::make_shared<FakeBackend>(behaviour);
        const std::lock_guard lock(mutex_);
        backend_ = backend;
        return backend;
      };
    }
    server_.emplace(std::move(options));
    thread_ = std::thread([this] { server_->run(); });
  }
  ~TestServer() {
    server_->stop();
    thread_.join();
  }

  std::uint16_t port() const { return server_->port(); }
  Server& server() { return *server_; }
  EngineStats stats() const {
    std::shared_ptr<FakeBackend> backend;
    {
      const std::lock_guard lock(mutex_);
      backend = backend_.lock();
    }
    return backend ? backend->stats() : EngineStats{};
  }

  /// The answer to bytes sent on a connection of their own.
  std::string exchange(std::string_view bytes, int ms = 3000) const {
    RawClient client(port());
    client.send(bytes);
    std::string answer;
    // A whole answer is known by its length; a stream by its last chunk.
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (!complete(answer) && !client.ended && std::chrono::steady_clock::now() < end) answer += client.receive(20);
    return answer;
  }

  static bool complete(std::string_view answer) {
    const auto head = answer.find("\r\n\r\n");
    if (head == std::string_view::npos) return false;
    if (answer.substr(0, head).find("Transfer-Encoding: chunked") != std::string_view::npos)
      return answer.ends_with("0\r\n\r\n");
    const auto length = answer.find("Content-Length: ");
    if (length == std::string_view::npos || length > head) return true;
    return answer.size() >=
           head + 4 + static_cast<std::size_t>(std::stoul(std::string(answer.substr(length + 16, 20))));
  }

 private:
  mutable std::mutex mutex_;
  std::weak_ptr<FakeBackend> backend_;
  std::optional<Server> server_;
  std::thread thread_;
};

/// The events of a chunked stream, without "data: ".
inline std::vector<std::string> events_of(std::string_view answer) {
  std::string text;
  std::string rest = body_of(answer);
  for (std::size_t at = 0; at < rest.size();) {
    const auto line = rest.find("\r\n", at);
    if (line == std::string::npos) break;
    const auto size = std::stoul(rest.substr(at, line - at), nullptr, 16);
    text += rest.substr(line + 2, size);
    at = line + 2 + size + 2;
    if (size == 0) break;
  }
  std::vector<std::string> events;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find("\n\n", at);
    const std::string event = text.substr(at, end - at);
    if (event.starts_with("data: ")) events.push_back(event.substr(6));
    if (end == std::string::npos) break;
    at = end + 2;
  }
  return events;
}

template <class Condition>
bool eventually(Condition condition, int ms = 5000) {
  for (int i = 0; i < ms / 10; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace moebox::test
