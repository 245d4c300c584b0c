#include "server/connection.h"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace moebox {
namespace {

using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::size_t most_pipelined_bytes = 64u << 10;  // read ahead while a request is answered
constexpr std::size_t short_body_bytes = 64u << 10;  // of a refused request: read past, so that the connection lives on
constexpr std::size_t most_lingered_bytes = 64u << 20;
constexpr std::chrono::milliseconds linger_time{2000};
constexpr std::chrono::milliseconds last_request_time{
    500};  // an idle connection that drains waits so long for one more

/// The system's own watch over peers that vanished without a word.
void watch_peer(Connection::Socket& socket, std::chrono::milliseconds write_stall_time) {
  error_code ignored;
  socket.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
  socket.set_option(boost::asio::socket_base::keep_alive(true), ignored);
  const auto set = [&](int option, int value) {
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, option, &value, sizeof value);
  };
  set(TCP_KEEPIDLE, 30);
  set(TCP_KEEPINTVL, 10);
  set(TCP_KEEPCNT, 3);
  set(TCP_USER_TIMEOUT, static_cast<int>(write_stall_time.count()));
}

std::string chunk_of(std::string_view bytes) {
  char size[20];
  const int n = std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
  std::string chunk;
  chunk.reserve(bytes.size() + static_cast<std::size_t>(n) + 2);
  chunk.append(size, static_cast<std::size_t>(n));
  chunk += bytes;
  chunk += "\r\n";
  return chunk;
}

}  // namespace

/// The answer to one request. It lets go of the connection when it is complete, so that a late call reaches nobody
/// else's answer.
class Connection::Exchange final : public Responder {
 public:
  Exchange(std::shared_ptr<Connection> connection, HttpRequest request)
      : connection_(std::move(connection)), executor_(connection_->executor_), request_(std::move(request)) {}

  boost::asio::any_io_executor executor() override { return executor_; }

  void send(HttpResponse response) override {
    if (!connection_ || begun_) return;
    const bool keep = keeps_alive(response);
    record_.status = response.status;
    add_answer_headers(response);
    connection_->push(response_head(response, response.body.size(), request_.version, keep));
    if (request_.method != "HEAD") {
      connection_->push(response.body);
      record_.bytes = response.body.size();
    }
    complete(keep);
  }

  void begin(HttpResponse head) override {
    if (!connection_ || begun_) return;
    begun_ = true;
    chunked_ = request_.version == 11;
    keep_ = chunked_ && keeps_alive(head);
    record_.status = head.status;
    add_answer_headers(head);
    connection_->push(response_head(head, std::nullopt, request_.version, keep_));
  }

  bool write(std::string_view bytes) override {
    if (!connection_) return false;
    if (bytes.empty()) return true;
    if (connection_->unsent() + bytes.size() > connection_->limits_.unsent_bytes) {
      gone_ = nullptr;
      const auto connection = connection_;
      connection->close();
      return false;
    }
    record_.bytes += bytes.size();
    connection_->push(chunked_ ? chunk_of(bytes) : std::string(bytes));
    return true;
  }

  void end() override {
    if (!connection_ || !begun_) return;
    if (chunked_) connection_->push("0\r\n\r\n");
    complete(keep_);
  }

  void on_gone(std::function<void()> callback) override {
    if (connection_) return void(gone_ = std::move(callback));
    if (record_.gone) callback();
  }

  /// The connection is lost.
  void abandon() {
    if (!connection_) return;
    record_.gone = true;
    const auto connection = std::move(connection_);
    connection_.reset();
    connection->service_.finished(request_, record_);
    if (const auto callback = std::exchange(gone_, nullptr)) callback();
  }

  const HttpRequest& request() const noexcept { return request_; }

 private:
  bool keeps_alive(const HttpResponse& response) const {
    return request_.keep_alive && !response.close && !connection_->input_left_ && !connection_->draining_ &&
           !connection_->service_.draining();
  }

  void add_answer_headers(HttpResponse& response) {
    response.headers.insert(response.headers.end(), request_.answer_headers.begin(), request_.answer_headers.end());
  }

  void complete(bool keep) {
    const auto connection = std::move(connection_);
    connection_.reset();
    gone_ = nullptr;
    connection->service_.finished(request_, record_);
    connection->exchange_ended(keep);
  }

  std::shared_ptr<Connection> connection_;
  const boost::asio::any_io_executor executor_;
  const HttpRequest request_;
  ExchangeRecord record_;
  std::function<void()> gone_;
  bool begun_ = false, chunked_ = false, keep_ = false;
};

Connection::Connection(boost::asio::any_io_executor executor, HttpService& service, const ServerLimits& limits,
                       std::function<void()> on_closed)
    : executor_(executor),
      service_(service),
      limits_(limits),
      on_closed_(std::move(on_closed)),
      timer_(executor),
      write_timer_(executor),
      parser_(limits) {}

Connection::~Connection() {
  if (on_closed_) on_closed_();
}

void Connection::start() {
  boost::asio::dispatch(executor_, [self = shared_from_this()] {
    watch_peer(self->socket(), self->limits_.write_stall_time);
    self->limit_time(self->limits_.header_time);
    if (!self->encrypted()) {
      self->phase_ = Phase::header;
      return self->want_read();
    }
    self->async_handshake([self](const error_code& error, std::size_t) {
      if (self->phase_ == Phase::closed) return;
      if (error) return self->close();
      self->phase_ = Phase::header;
      if (self->draining_) self->limit_time(last_request_time);
      self->want_read();
    });
  });
}

void Connection::drain() {
  boost::asio::post(executor_, [self = shared_from_this()] {
    self->draining_ = true;
    // A request may be on its way: it was sent before the client could know.
    if (self->phase_ == Phase::header && !self->header_begun_) self->limit_time(last_request_time);
  });
}

void Connection::stop() {
  boost::asio::post(executor_, [self = shared_from_this()] { self->close(); });
}

void Connection::want_read() {
  if (reading_ || read_closed_ || phase_ == Phase::closed) return;
  reading_ = true;
  async_read(boost::asio::buffer(chunk_), [self = shared_from_this()](const error_code& error, std::size_t n) {
    self->reading_ = false;
    self->on_read(error, n);
  });
}

void Connection::on_read(const error_code& error, std::size_t n) {
  if (saying_goodbye_) return close_politely();
  if (phase_ == Phase::closed) return;
  if (std::exchange(asking_idle_, false) && error == boost::asio::error::operation_aborted) {
    error_code ignored;
    return socket().available(ignored) > 0 ? want_read() : close_politely();
  }
  if (error) {
    read_closed_ = true;
    // A client that closed its side before the answer is complete does not wait for it: its slot goes to somebody who
    // does.
    if (answered_ && error == boost::asio::error::eof) return;
    return close();
  }
  if (phase_ == Phase::lingering) {
    lingered_bytes_ += n;
    return lingered_bytes_ > most_lingered_bytes ? close() : want_read();
  }
  received_.append(chunk_.data(), n);
  if (phase_ == Phase::header || phase_ == Phase::body) return advance();
  if (received_.size() < most_pipelined_bytes) want_read();
}

void Connection::advance() {
  // Empty lines are no request yet.
  if (phase_ == Phase::header && !header_begun_ && received_.find_first_not_of("\r\n") != std::string::npos) {
    header_begun_ = true;
    limit_time(limits_.header_time);
  }
  for (;;) {
    const auto before = parser_.state();
    switch (before) {
      case HttpParser::State::header:
      case HttpParser::State::body: {
        const std::size_t n = received_.empty() ? 0 : parser_.feed(received_);
        received_.erase(0, n);
        if (parser_.state() == before) return want_read();
        break;
      }
      case HttpParser::State::header_done:
        if (!accept_header()) return;
        break;
      case HttpParser::State::failed:
        input_left_ = true;
        return answer_with(service_.refuse(parser_.error(), parser_.request()));
      case HttpParser::State::done: {
        if (refusal_) return answer_with(*std::exchange(refusal_, std::nullopt));
        phase_ = Phase::answering;
        timer_.cancel();
        HttpRequest request = std::move(parser_.request());
        std::string body = std::exchange(request.body, {});
        const auto exchange = std::make_shared<Exchange>(shared_from_this(), request);
        exchange_ = exchange;
        request.body = std::move(body);
        want_read();
        return service_.handle(std::move(request), exchange);
      }
    }
  }
}

/// The service looks at the header. False when the request has been answered already.
bool Connection::accept_header() {
  HttpRequest& request = parser_.request();
  request.arrived = Clock::now();
  auto refusal = service_.check(request);
  if (!parser_.read_body()) {
    if (!refusal) return true;
    answer_with(std::move(*refusal));
    return false;
  }
  if (refusal) {
    const bool is_short =
        request.content_length && *request.content_length <= short_body_bytes && !request.expects_continue;
    input_left_ = !is_short;
    if (input_left_) {
      answer_with(std::move(*refusal));
      return false;
    }
    refusal_ = std::move(refusal);
  }
  phase_ = Phase::body;
  limit_time(limits_.body_time);
  if (request.expects_continue) push("HTTP/1.1 100 Continue\r\n\r\n");
  return true;
}

/// Answers what did not reach the service's handlers.
void Connection::answer_with(HttpResponse response) {
  phase_ = Phase::answering;
  timer_.cancel();
  const auto exchange = std::make_shared<Exchange>(shared_from_this(), std::move(parser_.request()));
  exchange_ = exchange;
  exchange->send(std::move(response));
}

void Connection::push(std::string_view bytes) {
  if (phase_ == Phase::closed) return;
  queued_ += bytes;
  flush();
}

void Connection::flush() {
  if (writing_) return;
  if (in_flight_sent_ == in_flight_.size()) {
    in_flight_.clear();
    in_flight_sent_ = 0;
    std::swap(in_flight_, queued_);
  }
  if (in_flight_.empty()) return;
  writing_ = true;
  write_timer_.expires_after(limits_.write_stall_time);
  write_timer_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (error || !self || !self->writing_ || self->write_timer_.expiry() > Clock::now()) return;
    self->close();
  });
  async_write(boost::asio::buffer(in_flight_.data() + in_flight_sent_, in_flight_.size() - in_flight_sent_),
              [self = shared_from_this()](const error_code& error, std::size_t n) {
                self->writing_ = false;
                self->on_written(error, n);
              });
}

void Connection::on_written(const error_code& error, std::size_t n) {
  if (phase_ == Phase::closed) return;
  if (error) return close();
  in_flight_sent_ += n;
  flush();
  if (writing_) return;
  write_timer_.cancel();
  if (!answered_) return;
  answered_ = false;
  exchange_.reset();
  // What the answer's head said holds, also when the server has begun to drain since.
  if (keep_alive_) return next_request();
  linger();
}

void Connection::exchange_ended(bool keep_alive) {
  if (phase_ == Phase::closed) return;
  answered_ = true;
  keep_alive_ = keep_alive;
}

void Connection::next_request() {
  if (read_closed_) return close_politely();
  phase_ = Phase::header;
  header_begun_ = false;
  parser_ = HttpParser(limits_);
  limit_time(draining_ ? last_request_time : limits_.idle_time);
  advance();
}

/// Closes a connection without a request. Only the pending read knows whether one has come: it is cancelled, and either
/// brings bytes, which are answered, or says that there were none.
void Connection::leave_if_idle() {
  if (!reading_) return close_politely();
  asking_idle_ = true;
  limit_time(last_request_time);  // a TLS read may be between two of its steps, where nothing can be cancelled
  error_code ignored;
  socket().cancel(ignored);
}

/// Lets the answer arrive before the connection is cut: closing with unread input would reset it.
void Connection::linger() {
  if (read_closed_ || (encrypted() && !input_left_)) return close_politely();
  phase_ = Phase::lingering;
  limit_time(linger_time);
  error_code ignored;
  if (!encrypted()) socket().shutdown(Socket::shutdown_send, ignored);
  received_.clear();
  want_read();
}

void Connection::limit_time(std::chrono::milliseconds time) {
  timer_.expires_after(time);
  timer_.async_wait([weak = weak_from_this()](const error_code& error) {
    const auto self = weak.lock();
    if (error || !self || self->timer_.expiry() > Clock::now()) return;
    self->on_time();
  });
}

void Connection::on_time() {
  if ((phase_ == Phase::header && header_begun_) || phase_ == Phase::body) {
    input_left_ = true;
    ApiError error = bad_request("The request did not arrive in time.");
    error.status = 408;
    return answer_with(service_.refuse(error, parser_.request()));
  }
  if (phase_ == Phase::answering) return;
  if (phase_ == Phase::header) return leave_if_idle();
  close();
}

/// TLS says goodbye first, so that the other side knows that nothing was cut off.
void Connection::close_politely() {
  if (!encrypted() || phase_ == Phase::handshake || (read_closed_ && !saying_goodbye_)) return close();
  if (phase_ == Phase::closed) return;
  if (reading_) {
    // One read at a time: the pending one makes room for the one that waits for the peer's goodbye.
    saying_goodbye_ = true;
    error_code ignored;
    socket().cancel(ignored);
    return;
  }
  saying_goodbye_ = false;
  read_closed_ = true;
  phase_ = Phase::lingering;
  limit_time(linger_time);
  async_goodbye([self = shared_from_this()](const error_code&, std::size_t) { self->close(); });
}

void Connection::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  timer_.cancel();
  write_timer_.cancel();
  error_code ignored;
  socket().shutdown(Socket::shutdown_both, ignored);
  socket().close(ignored);
  if (const auto closed = std::exchange(on_closed_, nullptr)) closed();
  // Whoever waits for this answer learns that nobody does.
  if (const auto exchange = std::exchange(exchange_, nullptr)) exchange->abandon();
}

namespace {

class PlainConnection final : public Connection {
 public:
  PlainConnection(Socket socket, HttpService& service, const ServerLimits& limits, std::function<void()> on_closed)
      : Connection(socket.get_executor(), service, limits, std::move(on_closed)), socket_(std::move(socket)) {}

 private:
  Socket& socket() noexcept override { return socket_; }
  bool encrypted() const noexcept override { return false; }
  void async_handshake(Done) override {}
  void async_read(boost::asio::mutable_buffer buffer, Done done) override {
    socket_.async_read_some(buffer, std::move(done));
  }
  void async_write(boost::asio::const_buffer buffer, Done done) override {
    socket_.async_write_some(buffer, std::move(done));
  }
  void async_goodbye(Done) override {}

  Socket socket_;
};

class TlsConnection final : public Connection {
 public:
  TlsConnection(Socket socket, boost::asio::ssl::context& tls, HttpService& service, const ServerLimits& limits,
                std::function<void()> on_closed)
      : Connection(socket.get_executor(), service, limits, std::move(on_closed)), stream_(std::move(socket), tls) {}

 private:
  Socket& socket() noexcept override { return stream_.next_layer(); }
  bool encrypted() const noexcept override { return true; }
  void async_handshake(Done done) override {
    stream_.async_handshake(boost::asio::ssl::stream_base::server,
                            [done = std::move(done)](const error_code& error) { done(error, 0); });
  }
  void async_read(boost::asio::mutable_buffer buffer, Done done) override {
    stream_.async_read_some(buffer, std::move(done));
  }
  void async_write(boost::asio::const_buffer buffer, Done done) override {
    stream_.async_write_some(buffer, std::move(done));
  }
  void async_goodbye(Done done) override {
    stream_.async_shutdown([done = std::move(done)](const error_code& error) { done(error, 0); });
  }

  boost::asio::ssl::stream<Socket> stream_;
};

}  // namespace

std::shared_ptr<Connection> Connection::make(Socket socket, boost::asio::ssl::context* tls, HttpService& service,
                                             const ServerLimits& limits, std::function<void()> on_closed) {
  if (tls == nullptr)
    return std::make_shared<PlainConnection>(std::move(socket), service, limits, std::move(on_closed));
  return std::make_shared<TlsConnection>(std::move(socket), *tls, service, limits, std::move(on_closed));
}

}  // namespace moebox
