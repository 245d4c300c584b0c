// One client's connection: reads requests one after the other, hands them to the service, writes the answers, keeps the
// time limits, and notices when the client goes away. Knows HTTP, nothing of models.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "server/http_message.h"
#include "server/http_parser.h"

namespace moebox {

/// Decides on requests and answers them.
class HttpService {
 public:
  virtual ~HttpService() = default;
  /// The header is complete. An answer here refuses the request before its body is read.
  virtual std::optional<HttpResponse> check(HttpRequest& request) = 0;
  /// The request is complete and was not refused. The answer goes to `responder`, now or later.
  virtual void handle(HttpRequest request, std::shared_ptr<Responder> responder) = 0;
  /// Bytes came that are no HTTP, or too late: the answer to that.
  virtual HttpResponse refuse(const ApiError& error, HttpRequest& request) = 0;
  virtual void finished(const HttpRequest& request, const ExchangeRecord& record) = 0;
  virtual bool draining() const noexcept = 0;
};

/// All calls but start() and the destructor happen on the connection's strand.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  /// `tls` is nullptr for plain HTTP; `on_closed` is called once.
  static std::shared_ptr<Connection> make(Socket socket, boost::asio::ssl::context* tls, HttpService& service,
                                          const ServerLimits& limits, std::function<void()> on_closed);
  virtual ~Connection();

  void start();
  /// Closes after the answer to the request at hand, or to one that comes within half a second. Thread safe.
  void drain();
  /// Closes now. Thread safe.
  void stop();

 protected:
  using Done = std::function<void(const boost::system::error_code&, std::size_t)>;
  Connection(boost::asio::any_io_executor executor, HttpService& service, const ServerLimits& limits,
             std::function<void()> on_closed);

  virtual Socket& socket() noexcept = 0;
  virtual void async_handshake(Done done) = 0;  // not called for plain HTTP
  virtual void async_read(boost::asio::mutable_buffer buffer, Done done) = 0;
  virtual void async_write(boost::asio::const_buffer buffer, Done done) = 0;
  virtual void async_goodbye(Done done) = 0;  // TLS close_notify
  virtual bool encrypted() const noexcept = 0;

 private:
  class Exchange;
  enum class Phase { handshake, header, body, answering, lingering, closed };

  void want_read();
  void on_read(const boost::system::error_code& error, std::size_t n);
  void advance();
  bool accept_header();
  void answer_with(HttpResponse response);
  void push(std::string_view bytes);
  void flush();
  void on_written(const boost::system::error_code& error, std::size_t n);
  void exchange_ended(bool keep_alive);
  void next_request();
  void leave_if_idle();
  void linger();
  void limit_time(std::chrono::milliseconds time);
  void on_time();
  void close_politely();
  void close();
  std::size_t unsent() const noexcept { return queued_.size() + in_flight_.size() - in_flight_sent_; }

  boost::asio::any_io_executor executor_;
  HttpService& service_;
  const ServerLimits& limits_;
  std::function<void()> on_closed_;

  Phase phase_ = Phase::handshake;
  boost::asio::steady_timer timer_, write_timer_;
  HttpParser parser_;
  std::shared_ptr<Exchange> exchange_;

  std::array<char, 8192> chunk_;
  std::string received_;  // not parsed yet
  bool reading_ = false, read_closed_ = false;

  std::string queued_, in_flight_;
  std::size_t in_flight_sent_ = 0;
  bool writing_ = false;

  std::optional<HttpResponse> refusal_;  // the answer that waits until a short body has been read past
  bool header_begun_ = false, input_left_ = false;
  bool answered_ = false, keep_alive_ = true, draining_ = false, saying_goodbye_ = false, asking_idle_ = false;
  std::size_t lingered_bytes_ = 0;
};

}  // namespace moebox
