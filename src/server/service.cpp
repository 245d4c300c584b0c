#include "server/service.h"

#include <algorithm>
#include <cmath>

#include <boost/asio/ip/address.hpp>

#include "base/log.h"
#include "server/model_job.h"
#include "server/router.h"

namespace moebox {
namespace {

ApiError refusal(int status, std::string message, std::string type, std::string code) {
  ApiError error;
  error.status = status;
  error.message = std::move(message);
  error.type = std::move(type);
  error.code = std::move(code);
  return error;
}

/// A client's own request id is taken over only if it can do no harm in a header or a log.
bool is_sane_id(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return result;
}

bool is_json(std::string_view content_type) {
  std::string media = lower(content_type.substr(0, content_type.find(';')));
  while (!media.empty() && (media.back() == ' ' || media.back() == '\t')) media.pop_back();
  return media == "application/json";
}

/// A body is read as it came: what a coding hides would be taken for something else.
bool is_coded(std::string_view content_encoding) {
  return !content_encoding.empty() && lower(content_encoding) != "identity";
}

std::string whole_number(double value) { return std::to_string(static_cast<long long>(std::floor(value))); }

}  // namespace

ServiceContext::ServiceContext(ServerOptions given)
    : options(std::move(given)),
      keys(options.keys),
      limiter(std::max(1, keys.size()), options.requests_per_minute, options.tokens_per_minute),
      metrics(options.models),
      workers(
          std::make_unique<boost::asio::thread_pool>(static_cast<std::size_t>(std::max(1, options.worker_threads)))),
      pool(std::make_unique<ModelPool>(options)) {}

std::optional<HttpResponse> Service::check(HttpRequest& request) {
  request.request_id = is_sane_id(request.request_id_header) ? request.request_id_header : random_id("req_");
  request.answer_headers = {{"X-Request-Id", request.request_id}, {"X-Content-Type-Options", "nosniff"}};
  if (!host_allowed(request.host)) {
    return error_response(refusal(403, "This server does not answer to that Host; --allowed-hosts names further ones.",
                                  "permission_error", "host_not_allowed"));
  }
  if (auto preflight = cross_origin(request)) return preflight;

  RouteMatch match = find_route(request.method, request.path);
  if (match.route == nullptr && match.allowed.empty() && !(request.method == "OPTIONS" && request.path == "*")) {
    return error_response(refusal(404, "There is nothing at this path.", "invalid_request_error", "unknown_url"));
  }
  if (request.method == "OPTIONS") {
    HttpResponse response;
    response.status = 204;
    response.headers = {{"Allow", (match.allowed.empty() ? "GET, HEAD, POST" : match.allowed) + ", OPTIONS"}};
    return response;
  }
  if (match.route == nullptr) {
    HttpResponse response =
        error_response(refusal(405, "This path takes " + match.allowed + ", not " + request.method.substr(0, 16) + ".",
                               "invalid_request_error", "method_not_allowed"));
    response.headers.emplace_back("Allow", match.allowed + ", OPTIONS");
    return response;
  }
  request.route = match.route;
  request.model_id = std::move(match.id);
  if (const auto error = authorise(request)) return error_response(*error);
  if (match.route->method != "POST") return std::nullopt;

  if (context_.draining) {
    HttpResponse response = error_response(to_api_error(Error(ErrorKind::cancelled, "draining"), request.request_id));
    response.close = true;
    return response;
  }
  if (!is_json(request.content_type)) {
    return error_response(refusal(415, "The body must be JSON: Content-Type: application/json.",
                                  "invalid_request_error", "unsupported_media_type"));
  }
  if (is_coded(request.content_encoding)) {
    HttpResponse response =
        error_response(refusal(415, "The body must come without a Content-Encoding: compressed bodies are not read.",
                               "invalid_request_error", "unsupported_content_encoding"));
    response.headers.emplace_back("Accept-Encoding", "identity");
    return response;
  }
  if (const auto error = limit_rate(request)) return error_response(*error);
  return std::nullopt;
}

/// On the route that was found, which is also the one that is called.
std::optional<ApiError> Service::authorise(HttpRequest& request) {
  if (context_.keys.empty() || !request.route->needs_key) return std::nullopt;
  const auto caller = context_.keys.find(request.authorization);
  if (caller) {
    request.caller = *caller;
    return std::nullopt;
  }
  ++context_.metrics.unauthorised;
  return refusal(
      401,
      request.authorization.empty() ? "A key is needed: Authorization: Bearer <key>." : "The key is not valid here.",
      "authentication_error", "invalid_api_key");
}

std::optional<ApiError> Service::limit_rate(HttpRequest& request) {
  RateLimiter& limiter = context_.limiter;
  const RateLimiter::Decision decision = limiter.take(request.caller);
  auto& headers = request.answer_headers;
  if (limiter.limits_requests()) {
    headers.emplace_back("x-ratelimit-limit-requests", whole_number(limiter.requests_per_minute()));
    headers.emplace_back("x-ratelimit-remaining-requests", whole_number(decision.remaining_requests));
  }
  if (limiter.limits_tokens()) {
    headers.emplace_back("x-ratelimit-limit-tokens", whole_number(limiter.tokens_per_minute()));
    headers.emplace_back("x-ratelimit-remaining-tokens", whole_number(decision.remaining_tokens));
  }
  if (decision.allowed) return std::nullopt;
  ++context_.metrics.rate_limited;
  ApiError error = refusal(
      429, decision.by_tokens ? "The tokens of this minute are used up." : "The requests of this minute are used up.",
      decision.by_tokens ? "tokens" : "requests", "rate_limit_exceeded");
  error.retry_after_s = static_cast<int>(std::ceil(std::clamp(decision.retry_after_s, 1.0, 3600.0)));
  return error;
}

/// Headers for a web page of an allowed origin; the answer to its preflight request.
std::optional<HttpResponse> Service::cross_origin(HttpRequest& request) {
  const auto& origins = context_.options.cors_origins;
  if (origins.empty() || request.origin.empty()) return std::nullopt;
  const bool any = std::find(origins.begin(), origins.end(), "*") != origins.end();
  if (!any && std::find(origins.begin(), origins.end(), request.origin) == origins.end()) return std::nullopt;
  request.answer_headers.emplace_back("Access-Control-Allow-Origin", any ? "*" : request.origin);
  request.answer_headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  if (!any) request.answer_headers.emplace_back("Vary", "Origin");
  if (request.method != "OPTIONS" || request.requested_method.empty()) return std::nullopt;
  HttpResponse response;
  response.status = 204;
  response.headers = {{"Access-Control-Allow-Methods", "GET, POST, OPTIONS"},
                      {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id"},
                      {"Access-Control-Max-Age", "600"}};
  return response;
}

/// Without keys, a web page could reach this server under its own name (DNS rebinding): only addresses and known names
/// are answered.
bool Service::host_allowed(std::string_view host) const {
  if (!context_.keys.empty() || context_.options.allow_open || host.empty()) return true;
  std::string name = lower(host);
  if (name.front() == '[') {
    name = name.substr(1, name.find(']') - 1);
  } else if (const auto colon = name.rfind(':'); colon != std::string::npos) {
    name.resize(colon);
  }
  boost::system::error_code not_an_address;
  boost::asio::ip::make_address(name, not_an_address);
  if (!not_an_address || name == "localhost") return true;
  const auto& allowed = context_.options.allowed_hosts;
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& other) { return lower(other) == name; });
}

void Service::handle(HttpRequest request, std::shared_ptr<Responder> responder) {
  switch (request.route->endpoint) {
    case Endpoint::models:
      return responder->send(list_models());
    case Endpoint::model:
      return responder->send(show_model(request.model_id));
    case Endpoint::health:
      return responder->send(health());
    case Endpoint::ready:
      return responder->send(ready());
    case Endpoint::metrics:
      return responder->send(metrics());
    default:
      break;
  }
  if (context_.requests_in_flight >= context_.options.limits.requests_in_flight) {
    ApiError error = refusal(429, "The server is busy; try again later.", "rate_limit_error", "rate_limit_exceeded");
    error.retry_after_s = 1;
    return responder->send(error_response(error));
  }
  const bool generates = request.route->endpoint == Endpoint::chat || request.route->endpoint == Endpoint::completions;
  const auto job = generates ? make_completion_job(context_, std::move(request), std::move(responder))
                             : make_tokenize_job(context_, std::move(request), std::move(responder));
  job->start();
}

HttpResponse Service::refuse(const ApiError& error, HttpRequest& request) {
  if (request.request_id.empty()) {
    request.request_id = random_id("req_");
    request.answer_headers = {{"X-Request-Id", request.request_id}, {"X-Content-Type-Options", "nosniff"}};
  }
  HttpResponse response = error_response(error);
  response.close = true;
  return response;
}

void Service::finished(const HttpRequest& request, const ExchangeRecord& record) {
  constexpr int client_closed_request = 499;  // nginx's name for it; no client ever sees it
  const std::string_view route = request.route == nullptr ? "unmatched" : request.route->path;
  const int status = record.gone ? client_closed_request : record.status;
  context_.metrics.count_http(route, status);
  const bool probe = request.route != nullptr &&
                     (request.route->endpoint == Endpoint::health || request.route->endpoint == Endpoint::ready ||
                      request.route->endpoint == Endpoint::metrics);
  const double ms =
      request.arrived.time_since_epoch().count() == 0
          ? 0.0
          : std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - request.arrived).count();
  log(probe ? LogLevel::debug : LogLevel::info, "request",
      {{"request_id", request.request_id},
       {"method", request.method.substr(0, 16)},
       {"route", route},
       {"status", status},
       {"key", context_.keys.empty() || request.route == nullptr || record.status == 401
                   ? ""
                   : context_.keys.name(request.caller)},
       {"bytes", record.bytes},
       {"ms", ms}});
}

HttpResponse Service::list_models() const {
  Json data = Json::array();
  for (const ModelPool::Status& status : context_.pool->status()) {
    const ServedModel& model = *context_.pool->find(status.name);
    data.push_back({{"id", model.name},
                    {"object", "model"},
                    {"created", started_},
                    {"owned_by", "moebox"},
                    {"aliases", model.aliases},
                    {"loaded", status.loaded}});
  }
  return json_response({{"object", "list"}, {"data", std::move(data)}});
}

HttpResponse Service::show_model(const std::string& id) const {
  const ServedModel* model = context_.pool->find(id);
  if (model == nullptr) {
    return error_response(
        refusal(404, "The model '" + id.substr(0, 256) + "' does not exist here; /v1/models lists those that do.",
                "invalid_request_error", "model_not_found"));
  }
  return json_response({{"id", model->name},
                        {"object", "model"},
                        {"created", started_},
                        {"owned_by", "moebox"},
                        {"aliases", model->aliases}});
}

HttpResponse Service::health() const { return json_response({{"status", "ok"}}); }

HttpResponse Service::ready() const {
  const bool is_ready = !context_.draining && context_.pool->started();
  HttpResponse response = json_response({{"status", is_ready ? "ready" : context_.draining ? "draining" : "loading"}});
  if (!is_ready) response.status = 503;
  return response;
}

HttpResponse Service::metrics() const {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  Metrics::Gauges gauges;
  gauges.connections = context_.connections;
  gauges.requests_in_flight = context_.requests_in_flight;
  gauges.pool = context_.pool->counts();
  gauges.draining = context_.draining;
  if (const auto& store = context_.options.model.engine.store) gauges.store = store->stats();
  response.body = context_.metrics.text(context_.pool->status(), gauges);
  return response;
}

}  // namespace moebox
