#include "server/model_job.h"

#include <chrono>
#include <thread>

#include <boost/asio/post.hpp>

#include "base/log.h"
#include "server/router.h"

namespace moebox {

ModelJob::ModelJob(ServiceContext& context, HttpRequest request, std::shared_ptr<Responder> responder)
    : context_(context), http_(std::move(request)), responder_(std::move(responder)) {
  ++context_.requests_in_flight;
}

ModelJob::~ModelJob() { --context_.requests_in_flight; }

template <class Work>
void ModelJob::on_executor(Work work) {
  boost::asio::post(responder_->executor(), std::move(work));
}

/// Runs a step on a worker; whatever it throws becomes the answer. Where there is no memory even for that, it is tried
/// again for a while: a client that is told late is better off than one that is not told.
template <class Work>
void ModelJob::guarded(Work work) noexcept {
  using namespace std::chrono_literals;
  for (int n_tries = 0; n_tries < 1000; ++n_tries) {
    try {
      return n_tries == 0 ? answered(work) : fail(internal_error(http_.request_id));
    } catch (...) {
      std::this_thread::sleep_for(10ms);
    }
  }
}

/// Runs a step; what it throws becomes the answer. Throws when there is no memory for the answer.
template <class Work>
void ModelJob::answered(Work& work) {
  const auto broken = [this](const char* kind, const char* what) {
    log(LogLevel::error, "request_failed", {{"request_id", http_.request_id}, {"kind", kind}, {"error", what}});
    fail(internal_error(http_.request_id));
  };
  try {
    work();
  } catch (const ApiException& refusal) {
    fail(refusal.error());
  } catch (const Error& error) {
    const ApiError answer = to_api_error(error, http_.request_id);
    if (answer.status == 500) return broken(name(error.kind()), error.what());
    fail(answer);
  } catch (const std::exception& error) {
    broken("exception", error.what());
  }
}

void ModelJob::start() {
  responder_->on_gone([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    self->gone_ = true;
    ++self->context_.metrics.gone;
    self->on_gone();
  });
  boost::asio::post(*context_.workers, [self = shared_from_this()] { self->guarded([&self] { self->parse(); }); });
}

void ModelJob::parse() {
  if (gone_) return;
  request_ = parse_api_request(http_.route->endpoint, http_.body, context_.options.limits);
  std::string().swap(http_.body);
  for (const std::string& field : request_.unknown_fields) {
    log(LogLevel::info, "unknown_field_ignored", {{"request_id", http_.request_id}, {"field", field}});
  }
  model_ = context_.pool->find(request_.model);
  if (model_ == nullptr) {
    ApiError error =
        bad_request("The model '" + request_.model + "' does not exist here; /v1/models lists those that do.", "model",
                    "model_not_found");
    error.status = 404;
    throw ApiException(error);
  }
  context_.pool->acquire(*model_, [self = shared_from_this()](std::variant<ModelLease, ApiError> result) {
    if (const auto* error = std::get_if<ApiError>(&result)) return self->fail(*error);
    self->lease_ = std::move(std::get<ModelLease>(result));
    boost::asio::post(*self->context_.workers, [self] {
      if (!self->gone_) self->guarded([&self] { self->run(); });
    });
  });
}

void ModelJob::fail(ApiError error) {
  on_executor([self = shared_from_this(), error = std::move(error)] {
    HttpResponse response = error_response(error);
    self->responder_->send(std::move(response));
    self->on_failed();
    self->lease_.reset();
  });
}

void ModelJob::answer(HttpResponse response) {
  on_executor([self = shared_from_this(), response = std::move(response)]() mutable {
    self->responder_->send(std::move(response));
    self->lease_.reset();
  });
}

}  // namespace moebox
