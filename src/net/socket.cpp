#include "net/socket.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/network_error.h"

namespace moebox {
namespace {

using std::chrono::steady_clock;

constexpr int slice_ms = 100;
constexpr int next_address_ms = 250;

[[noreturn]] void fail(const std::string& what, int error, const std::string& where) {
  throw NetworkError(fmt::format("{}: {}", what, std::strerror(error)), where, true,
                     "check the connection and try again");
}

int milliseconds_until(Deadline deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, slice_ms));
}

struct Address {
  int family = 0;
  sockaddr_storage storage{};
  socklen_t size = 0;
};

/// In the resolver's order, but with the families taking turns: one that does not work here costs only one wait.
std::vector<Address> resolve(const std::string& host, std::uint16_t port, const std::string& where) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) {
    const bool passing = error == EAI_AGAIN || error == EAI_SYSTEM || error == EAI_MEMORY;
    throw NetworkError(fmt::format("the name cannot be resolved: {}", gai_strerror(error)), where, passing,
                       "check the name, the connection and whether a proxy is needed (https_proxy)");
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, freeaddrinfo);
  std::vector<Address> by_family[2];
  for (const addrinfo* it = list; it != nullptr; it = it->ai_next) {
    Address address{it->ai_family, {}, it->ai_addrlen};
    if (it->ai_addrlen > sizeof address.storage) continue;
    std::memcpy(&address.storage, it->ai_addr, it->ai_addrlen);
    by_family[it->ai_family == list->ai_family ? 0 : 1].push_back(address);
  }
  std::vector<Address> result;
  for (std::size_t i = 0; i < std::max(by_family[0].size(), by_family[1].size()); ++i) {
    for (const auto& family : by_family) {
      if (i < family.size()) result.push_back(family[i]);
    }
  }
  return result;
}

/// Begins to connect; errno says why when the result is invalid.
Socket begin_connect(const Address& address) {
  Socket socket(::socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0) return {};
  const int on = 1;
  setsockopt(socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 &&
      errno != EINPROGRESS && errno != EINTR)
    return {};
  return socket;
}

class PlainConnection final : public ClientConnection {
 public:
  PlainConnection(Socket socket, Tick tick, std::string where)
      : socket_(std::move(socket)), tick_(std::move(tick)), where_(std::move(where)) {}

  std::size_t read(std::span<char> buffer, Deadline deadline) override {
    return read_some(socket_.fd(), buffer, deadline, tick_, where_);
  }
  void write(std::string_view bytes, Deadline deadline) override {
    write_whole(socket_.fd(), bytes, deadline, tick_, where_);
  }

 private:
  Socket socket_;
  Tick tick_;
  std::string where_;
};

}  // namespace

Socket::~Socket() {
  if (fd_ >= 0) close(fd_);
}

Socket::Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

std::size_t read_some(int fd, std::span<char> buffer, Deadline deadline, const Tick& tick, const std::string& where) {
  while (true) {
    const ssize_t count = recv(fd, buffer.data(), buffer.size(), 0);
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) fail("the connection was lost", errno, where);
    wait_for(fd, POLLIN, deadline, tick, where);
  }
}

void write_whole(int fd, std::string_view bytes, Deadline deadline, const Tick& tick, const std::string& where) {
  while (!bytes.empty()) {
    const ssize_t count = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait_for(fd, POLLOUT, deadline, tick, where);
    } else if (errno != EINTR) {
      fail("the connection was lost", errno, where);
    }
  }
}

void wait_for(int fd, short events, Deadline deadline, const Tick& tick, const std::string& where) {
  while (true) {
    if (tick) tick();
    pollfd item{fd, events, 0};
    const int ready = poll(&item, 1, milliseconds_until(deadline));
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) fail("cannot wait for the network", errno, where);
    if (steady_clock::now() >= deadline) {
      throw NetworkError("nothing came within the time limit", where, true,
                         "the other side or the connection is too slow; try again");
    }
  }
}

Socket connect_tcp(const std::string& host, std::uint16_t port, int timeout_ms, const Tick& tick,
                   const std::string& where) {
  const std::vector<Address> addresses = resolve(host, port, where);
  const Deadline deadline = after_ms(timeout_ms);
  std::vector<Socket> pending;
  std::size_t next = 0;
  int last_error = ETIMEDOUT;
  Deadline next_start = steady_clock::now();
  while (steady_clock::now() < deadline) {
    if (tick) tick();
    if (next < addresses.size() && (pending.empty() || steady_clock::now() >= next_start)) {
      Socket socket = begin_connect(addresses[next++]);
      if (socket.fd() < 0) {
        last_error = errno;
      } else {
        pending.push_back(std::move(socket));
        next_start = after_ms(next_address_ms);
      }
    }
    if (pending.empty()) {
      if (next == addresses.size()) break;
      continue;
    }
    std::vector<pollfd> items;
    for (const Socket& socket : pending) items.push_back({socket.fd(), POLLOUT, 0});
    if (poll(items.data(), items.size(),
             milliseconds_until(std::min(deadline, next < addresses.size() ? next_start : deadline))) <= 0)
      continue;
    for (std::size_t i = items.size(); i-- > 0;) {
      if (items[i].revents == 0) continue;
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(items[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error == 0) return std::move(pending[i]);
      last_error = error;
      pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  fail("no connection could be made", last_error, where);
}

std::unique_ptr<ClientConnection> plain_connection(Socket socket, Tick tick, std::string where) {
  return std::make_unique<PlainConnection>(std::move(socket), std::move(tick), std::move(where));
}

}  // namespace moebox
