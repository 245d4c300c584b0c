// A client of bytes: it sends what no HTTP library would, and shows exactly what came back.
#pragma once

#include <chrono>
#include <cstring>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace moebox::test {

class RawClient {
 public:
  explicit RawClient(std::uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;

  bool connected() const { return connected_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  /// Ends with a reset instead of a goodbye.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  void half_close() { ::shutdown(fd_, SHUT_WR); }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  /// What comes within `ms` after the last byte, or until the end: `ended` tells which.
  std::string receive(int ms = 200) {
    std::string all;
    ended = false;
    for (;;) {
      pollfd poll{fd_, POLLIN, 0};
      if (::poll(&poll, 1, ms) <= 0) return all;
      char buffer[16384];
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) {
        ended = true;
        return all;
      }
      all.append(buffer, static_cast<std::size_t>(n));
    }
  }

  /// Receives until `text` has come, the other side ended, or `ms` passed.
  std::string receive_until(std::string_view text, int ms = 10000) {
    std::string all;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    ended = false;
    while (all.find(text) == std::string::npos && !ended && std::chrono::steady_clock::now() < end) {
      pollfd poll{fd_, POLLIN, 0};
      if (::poll(&poll, 1, 50) <= 0) continue;
      char buffer[16384];
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0)
        ended = true;
      else
        all.append(buffer, static_cast<std::size_t>(n));
    }
    return all;
  }

  bool ended = false;

 private:
  int fd_;
  bool connected_ = false;
};

inline std::string post(std::string_view path, std::string_view body, std::string_view headers = {}) {
  std::string text = "POST " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
  text += headers;
  text += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
  text += body;
  return text;
}

inline std::string get(std::string_view path, std::string_view headers = {}) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" + std::string(headers) + "\r\n";
}

inline int status_of(std::string_view response) {
  return response.size() > 12 && response.starts_with("HTTP/1.1 ") ? std::stoi(std::string(response.substr(9, 3))) : 0;
}

inline std::string body_of(std::string_view response) {
  const auto end = response.find("\r\n\r\n");
  return end == std::string_view::npos ? std::string() : std::string(response.substr(end + 4));
}

}  // namespace moebox::test
