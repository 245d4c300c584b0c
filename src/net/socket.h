// TCP connections without blocking for ever: every wait has a deadline and calls back about ten times a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace moebox {

using Deadline = std::chrono::steady_clock::time_point;

inline Deadline after_ms(int milliseconds) {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
}

/// Called while something is waited for; throws to give up.
using Tick = std::function<void()>;

/// Owns a descriptor.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket();
  Socket(Socket&& other) noexcept;
  Socket& operator=(Socket&& other) noexcept;

  int fd() const noexcept { return fd_; }

 private:
  int fd_ = -1;
};

/// A stream of bytes both ways: a socket, or TLS over one. Throws NetworkError(retryable) on timeouts and lost
/// connections.
class ClientConnection {
 public:
  virtual ~ClientConnection() = default;
  /// Waits for some bytes; 0 is the proper end of the stream.
  virtual std::size_t read(std::span<char> buffer, Deadline deadline) = 0;
  virtual void write(std::string_view bytes, Deadline deadline) = 0;
};

/// Resolves `host` and tries its addresses, the next one 250 ms after the one before (RFC 8305), until one answers.
/// `where` names the other side in messages. The resolver has its own time limit (resolv.conf).
Socket connect_tcp(const std::string& host, std::uint16_t port, int timeout_ms, const Tick& tick,
                   const std::string& where);

std::unique_ptr<ClientConnection> plain_connection(Socket socket, Tick tick, std::string where);

/// The two halves of a plain connection, for who does not own the socket.
std::size_t read_some(int fd, std::span<char> buffer, Deadline deadline, const Tick& tick, const std::string& where);
void write_whole(int fd, std::string_view bytes, Deadline deadline, const Tick& tick, const std::string& where);

/// Waits until `fd` can be read or written (POLLIN, POLLOUT). Throws NetworkError at the deadline.
void wait_for(int fd, short events, Deadline deadline, const Tick& tick, const std::string& where);

}  // namespace moebox
