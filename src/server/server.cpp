#include "server/server.h"

#include <csignal>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/write.hpp>
#include <openssl/ssl.h>
#include <sys/resource.h>

#include "base/log.h"
#include "server/readable.h"
#include "server/service.h"

namespace moebox {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds look_again{20};
constexpr std::chrono::milliseconds last_bytes_time{2500};  // for answers that are complete but not read yet

/// All open connections, and how many each address has.
class ConnectionTable {
 public:
  bool admit(const std::string& address, const ServerLimits& limits) {
    const std::lock_guard lock(mutex_);
    if (n_total_ >= limits.connections || n_of_[address] >= limits.connections_per_address) return false;
    ++n_total_;
    ++n_of_[address];
    return true;
  }
  void add(std::uint64_t id, std::weak_ptr<Connection> connection) {
    const std::lock_guard lock(mutex_);
    connections_[id] = std::move(connection);
  }
  void remove(std::uint64_t id, const std::string& address) {
    const std::lock_guard lock(mutex_);
    connections_.erase(id);
    --n_total_;
    if (--n_of_[address] == 0) n_of_.erase(address);
  }
  int size() const {
    const std::lock_guard lock(mutex_);
    return n_total_;
  }
  template <class Call>
  void for_each(Call call) const {
    std::vector<std::shared_ptr<Connection>> all;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [id, weak] : connections_) {
        if (auto connection = weak.lock()) all.push_back(std::move(connection));
      }
    }
    for (const auto& connection : all) call(*connection);
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::weak_ptr<Connection>> connections_;
  std::map<std::string, int> n_of_;
  int n_total_ = 0;
};

asio::ip::address parse_address(const std::string& host) {
  if (host == "localhost") return asio::ip::address_v4::loopback();
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) {
    throw Error(ErrorKind::invalid_argument, "expected an address to listen on, found '" + host + "'", "host",
                "for example 127.0.0.1, 0.0.0.0 or ::1");
  }
  return address;
}

void check_exposure(const ServerOptions& options, const asio::ip::address& address) {
  if (address.is_loopback() || !options.keys.empty()) return;
  if (options.allow_open && options.allow_open_again) {
    log(LogLevel::warning, "open_to_everybody", {{"host", options.host}});
    return;
  }
  throw Error(ErrorKind::invalid_argument,
              "refused to listen on " + options.host + " without a key: anybody could use this server", "host",
              "give it keys (MOEBOX_API_KEY, --keys-file), listen on 127.0.0.1, or say --allow-open twice");
}

std::unique_ptr<asio::ssl::context> make_tls(const ServerOptions& options) {
  if (options.tls_certificate.empty() && options.tls_key.empty()) return nullptr;
  if (options.tls_certificate.empty() || options.tls_key.empty()) {
    throw Error(ErrorKind::invalid_argument, "TLS needs a certificate and its key, found one of them", "tls");
  }
  require_readable(options.tls_certificate, "the TLS certificate");
  require_readable(options.tls_key, "the TLS key");
  auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  SSL_CTX* native = tls->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  SSL_CTX_set_options(native, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  error_code error;
  tls->use_certificate_chain_file(options.tls_certificate.string(), error);
  if (error)
    throw Error(ErrorKind::invalid_file, "the TLS certificate cannot be used: " + error.message(),
                options.tls_certificate.string());
  tls->use_private_key_file(options.tls_key.string(), asio::ssl::context::pem, error);
  if (error)
    throw Error(ErrorKind::invalid_file, "the TLS key cannot be used: " + error.message(), options.tls_key.string());
  if (SSL_CTX_check_private_key(native) != 1) {
    throw Error(ErrorKind::invalid_file, "the TLS key does not belong to the certificate", options.tls_key.string());
  }
  return tls;
}

/// Every connection is a descriptor; the usual soft limit of 1024 is less than connections and model files need.
void raise_descriptor_limit(int connections) {
  rlimit limit{};
  const rlim_t wanted = static_cast<rlim_t>(connections) + 256;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= wanted) return;
  limit.rlim_cur = limit.rlim_max == RLIM_INFINITY ? wanted : std::min(limit.rlim_max, wanted);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    log(LogLevel::warning, "few_descriptors", {{"limit", limit.rlim_cur}, {"wanted", wanted}});
  }
}

ServerOptions checked(ServerOptions options) {
  if (options.io_threads < 1 || options.worker_threads < 1) {
    throw Error(ErrorKind::invalid_argument, "expected at least one thread for input and output and one to work",
                "io_threads, worker_threads");
  }
  if (options.limits.header_bytes < 256 || options.limits.body_bytes < 1 || options.limits.connections < 1) {
    throw Error(ErrorKind::invalid_argument, "a limit is too small for any request", "limits");
  }
  return options;
}

}  // namespace

struct Server::State {
  explicit State(ServerOptions options)
      : context(checked(std::move(options))),
        service(context),
        tls(make_tls(context.options)),
        acceptor(control),
        accept_timer(control),
        look_timer(control),
        signals(control) {
    listen();
  }

  ~State() {
    // Whoever could still post to `io` ends before it does.
    context.workers->stop();
    context.workers->join();
    context.pool.reset();
    context.workers.reset();
  }

  void listen() {
    const auto address = parse_address(context.options.host);
    check_exposure(context.options, address);
    const Tcp::endpoint endpoint(address, context.options.port);
    error_code error;
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      throw Error(ErrorKind::io, "cannot listen: " + error.message(),
                  context.options.host + ":" + std::to_string(context.options.port));
    }
    local = acceptor.local_endpoint();
  }

  void accept() {
    acceptor.async_accept(asio::make_strand(io), [this](const error_code& error, Tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {
        // Out of descriptors, most likely: give others time to close theirs.
        log(LogLevel::warning, "accept_failed", {{"error", error.message()}});
        accept_timer.expires_after(std::chrono::milliseconds(100));
        accept_timer.async_wait([this](const error_code& cancelled) {
          if (!cancelled) accept();
        });
        return;
      }
      welcome(std::move(socket));
      accept();
    });
  }

  void welcome(Tcp::socket socket) {
    error_code error;
    const auto peer = socket.remote_endpoint(error);
    if (error) return;
    const std::string address = peer.address().to_string();
    if (!table->admit(address, context.options.limits)) return turn_away(socket);
    ++context.connections;
    const std::uint64_t id = next_id++;
    const auto connection = Connection::make(std::move(socket), tls.get(), service, context.options.limits,
                                             [this, table = table, id, address] {
                                               table->remove(id, address);
                                               --context.connections;
                                             });
    table->add(id, connection);
    connection->start();
    if (context.draining) connection->drain();
    if (stopping) connection->stop();
  }

  /// One attempt, without waiting: who opens too many connections is not waited for.
  void turn_away(Tcp::socket& socket) {
    if (tls) return;
    ApiError busy;
    busy.status = 503;
    busy.message = "Too many connections.";
    busy.code = "too_many_connections";
    busy.retry_after_s = 1;
    const HttpResponse response = error_response(busy);
    const std::string text = response_head(response, response.body.size(), 11, false) + response.body;
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
    socket.shutdown(Tcp::socket::shutdown_send, ignored);
  }

  void wait_for_signal() {
    signals.async_wait([this](const error_code& error, int number) {
      if (error) return;
      log(LogLevel::info, "signal", {{"number", number}, {"effect", context.draining ? "stop" : "drain"}});
      if (context.draining) return stop();
      drain();
      wait_for_signal();
    });
  }

  void drain() {
    if (context.draining.exchange(true)) return;
    log(LogLevel::info, "draining", {{"connections", table->size()}, {"requests", context.requests_in_flight.load()}});
    quiet_since = Clock::now();
    drain_until = quiet_since + context.options.drain_time;
    table->for_each([](Connection& connection) { connection.drain(); });
    look();
  }

  void stop() {
    context.draining = true;
    if (stopping) return;
    stopping = true;
    error_code ignored;
    acceptor.close(ignored);
    accept_timer.cancel();
    // From here on a signal does what the system does: nobody has to wait for a program that does not end.
    signals.clear(ignored);
    context.pool->shut_down();
    table->for_each([](Connection& connection) { connection.stop(); });
    look();
  }

  /// Ends the loop when everything has ended; stops when the time to drain is over.
  void look() {
    const auto now = Clock::now();
    const bool busy = context.requests_in_flight > 0;
    if (busy) quiet_since = now;
    // Who connected when the draining began may be waiting to be accepted still.
    n_empty_looks = table->size() == 0 ? n_empty_looks + 1 : 0;
    const bool empty = n_empty_looks >= 2;
    const bool done = stopping ? !busy : !busy && (empty || now - quiet_since >= last_bytes_time);
    if (done) {
      error_code ignored;
      acceptor.close(ignored);
      io.stop();
      return;
    }
    if (!stopping && now >= drain_until) {
      log(LogLevel::warning, "drain_timeout", {{"requests", context.requests_in_flight.load()}});
      return stop();
    }
    look_timer.expires_after(look_again);
    look_timer.async_wait([this](const error_code& error) {
      if (!error) look();
    });
  }

  void run() {
    if (has_run.exchange(true)) throw Error(ErrorKind::invalid_argument, "a server runs once", "Server::run");
    if (context.options.handle_signals) {
      signals.add(SIGINT);
      signals.add(SIGTERM);
      wait_for_signal();
    }
    raise_descriptor_limit(context.options.limits.connections);
    log(LogLevel::info, "listening",
        {{"url", url()}, {"models", context.options.models.size()}, {"keys", context.keys.size()}});
    accept();
    std::vector<std::thread> threads;
    for (int i = 1; i < context.options.io_threads; ++i) threads.emplace_back([this] { run_io(); });
    run_io();
    for (std::thread& thread : threads) thread.join();
    // What came between the last look and the end, such as a connection that was just accepted, is let go.
    io.restart();
    io.poll();
    log(LogLevel::info, "stopped");
  }

  void run_io() {
    for (;;) {
      try {
        io.run();
        return;
      } catch (const std::exception& error) {
        // A handler should not throw; one that does costs its request, not the server.
        log(LogLevel::error, "handler_failed", {{"error", error.what()}});
      }
    }
  }

  std::string url() const {
    const auto address = local.address();
    const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
    return std::string(tls ? "https://" : "http://") + host + ":" + std::to_string(local.port());
  }

  ServiceContext context;
  Service service;
  std::unique_ptr<asio::ssl::context> tls;
  const std::shared_ptr<ConnectionTable> table = std::make_shared<ConnectionTable>();
  Tcp::endpoint local;
  std::uint64_t next_id = 0;
  int n_empty_looks = 0;
  std::atomic<bool> stopping{false}, has_run{false};
  Clock::time_point drain_until{}, quiet_since = Clock::now();

  asio::io_context io;
  asio::strand<asio::io_context::executor_type> control{
      asio::make_strand(io)};  // accepting, signals, draining: one at a time
  Tcp::acceptor acceptor;
  asio::steady_timer accept_timer, look_timer;
  asio::signal_set signals;
};

Server::Server(ServerOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Server::~Server() = default;
std::uint16_t Server::port() const noexcept { return state_->local.port(); }
std::string Server::url() const { return state_->url(); }
void Server::run() { state_->run(); }

void Server::drain() {
  asio::post(state_->control, [state = state_.get()] { state->drain(); });
}

void Server::stop() {
  asio::post(state_->control, [state = state_.get()] { state->stop(); });
}

}  // namespace moebox
