// What the endpoints do, on top of HTTP and below sockets: who may call what, and which job answers.
#pragma once

#include <atomic>
#include <memory>

#include <boost/asio/thread_pool.hpp>

#include "server/connection.h"
#include "server/keys.h"
#include "server/metrics.h"
#include "server/model_pool.h"
#include "server/rate_limiter.h"
#include "server/responses.h"

namespace moebox {

/// What every job needs. Lives as long as the server.
struct ServiceContext {
  explicit ServiceContext(ServerOptions options);

  const ServerOptions options;
  Keys keys;
  RateLimiter limiter;
  Metrics metrics;
  std::atomic<int> connections{0}, requests_in_flight{0};
  std::atomic<bool> draining{false};
  // The pool goes before what its callbacks use: it waits for its thread and for the engines.
  std::unique_ptr<boost::asio::thread_pool> workers;
  std::unique_ptr<ModelPool> pool;
};

class Service final : public HttpService {
 public:
  explicit Service(ServiceContext& context) : context_(context) {}

  std::optional<HttpResponse> check(HttpRequest& request) override;
  void handle(HttpRequest request, std::shared_ptr<Responder> responder) override;
  HttpResponse refuse(const ApiError& error, HttpRequest& request) override;
  void finished(const HttpRequest& request, const ExchangeRecord& record) override;
  bool draining() const noexcept override { return context_.draining; }

 private:
  std::optional<ApiError> authorise(HttpRequest& request);
  std::optional<ApiError> limit_rate(HttpRequest& request);
  std::optional<HttpResponse> cross_origin(HttpRequest& request);
  bool host_allowed(std::string_view host) const;
  HttpResponse list_models() const;
  HttpResponse show_model(const std::string& id) const;
  HttpResponse health() const;
  HttpResponse ready() const;
  HttpResponse metrics() const;

  ServiceContext& context_;
  const std::int64_t started_ =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
};

}  // namespace moebox
