#include "server/api_error.h"

#include <nlohmann/json.hpp>

namespace moebox {
namespace {

bool is_field(const std::string& where) {
  return !where.empty() && where.size() <= 40 &&
         where.find_first_not_of("abcdefghijklmnopqrstuvwxyz_.") == std::string::npos;
}

}  // namespace

std::string ApiError::body() const {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
  };
  const nlohmann::ordered_json document = {
      {"error", {{"message", message}, {"type", type}, {"param", text_or_null(param)}, {"code", text_or_null(code)}}}};
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ApiError bad_request(std::string message, std::string param, std::string code) {
  ApiError error;
  error.status = 400;
  error.message = std::move(message);
  error.type = "invalid_request_error";
  error.param = std::move(param);
  error.code = std::move(code);
  return error;
}

ApiError internal_error(const std::string& request_id) {
  ApiError error;
  error.message = "The server failed to answer; its log has the reason under the request id " + request_id + ".";
  error.code = "internal_error";
  return error;
}

ApiError to_api_error(const Error& error, const std::string& request_id) {
  switch (error.kind()) {
    case ErrorKind::invalid_argument:
      // `where` is a field's name here, or a place that only the log should know.
      return bad_request(is_field(error.where()) ? "'" + error.where() + "': " + error.message() : error.message(),
                         is_field(error.where()) ? error.where() : std::string());
    case ErrorKind::unsupported:
      return bad_request(error.message(), {}, "unsupported");
    case ErrorKind::resource: {
      ApiError busy;
      busy.status = 429;
      busy.message = "The server's queue is full; try again later.";
      busy.type = "rate_limit_error";
      busy.code = "rate_limit_exceeded";
      busy.retry_after_s = 1;
      return busy;
    }
    case ErrorKind::cancelled: {
      ApiError closing;
      closing.status = 503;
      closing.message = "The server is shutting down.";
      closing.code = "shutting_down";
      closing.retry_after_s = 5;
      return closing;
    }
    default:
      return internal_error(request_id);
  }
}

}  // namespace moebox
