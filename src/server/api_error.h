// An error as the client sees it: OpenAI's shape and an HTTP status. What the log says about it is elsewhere.
#pragma once

#include <exception>
#include <string>

#include "base/error.h"

namespace moebox {

/// {"error": {"message", "type", "param", "code"}}; `param` and `code` are null when empty.
struct ApiError {
  int status = 500;
  std::string message;
  std::string type = "server_error";
  std::string param;
  std::string code;
  int retry_after_s = 0;       // > 0: the header Retry-After
  bool worth_retrying = true;  // false: x-should-retry: false, which the official clients obey

  std::string body() const;
};

/// Thrown while a request is read and checked; becomes the answer.
class ApiException : public std::exception {
 public:
  explicit ApiException(ApiError error) : error_(std::move(error)) {}
  const ApiError& error() const noexcept { return error_; }
  const char* what() const noexcept override { return error_.message.c_str(); }

 private:
  ApiError error_;
};

/// 400 invalid_request_error.
ApiError bad_request(std::string message, std::string param = {}, std::string code = {});
/// 500 that tells the client nothing but the request id, under which the log has the rest.
ApiError internal_error(const std::string& request_id);
/// What an Error of the engine, template or tokenizer means to a client. Only messages about the client's own input are
/// passed on.
ApiError to_api_error(const Error& error, const std::string& request_id);

}  // namespace moebox
