// A request that needs a model: parsed on a worker, waits for the model to load, and goes on on a worker.
#pragma once

#include <atomic>
#include <memory>

#include "server/service.h"

namespace moebox {

class ModelJob : public std::enable_shared_from_this<ModelJob> {
 public:
  ModelJob(ServiceContext& context, HttpRequest request, std::shared_ptr<Responder> responder);
  virtual ~ModelJob();

  /// Call on the responder's executor.
  void start();

 protected:
  /// On a worker; the model is in lease(). May throw Error or ApiException: that becomes the answer.
  virtual void run() = 0;
  /// On the responder's executor, when the client went away.
  virtual void on_gone() {}
  /// On the responder's executor, after fail().
  virtual void on_failed() {}

  /// Answers with an error. From any thread.
  void fail(ApiError error);
  /// Answers. From any thread.
  void answer(HttpResponse response);

  ServiceContext& context() const noexcept { return context_; }
  const HttpRequest& http() const noexcept { return http_; }
  const ApiRequest& request() const noexcept { return request_; }
  const ServedModel& model() const noexcept { return *model_; }
  ModelLease& lease() noexcept { return lease_; }
  const ModelLease& lease() const noexcept { return lease_; }
  Responder& responder() noexcept { return *responder_; }
  bool gone() const noexcept { return gone_; }
  /// Nobody listens any more.
  void mark_gone() noexcept { gone_ = true; }

  template <class Work>
  void on_executor(Work work);

 private:
  template <class Work>
  void guarded(Work work) noexcept;
  template <class Work>
  void answered(Work& work);
  void parse();

  ServiceContext& context_;
  HttpRequest http_;
  const std::shared_ptr<Responder> responder_;
  ApiRequest request_;
  const ServedModel* model_ = nullptr;
  ModelLease lease_;
  std::atomic<bool> gone_{false};
};

/// /v1/chat/completions and /v1/completions.
std::shared_ptr<ModelJob> make_completion_job(ServiceContext& context, HttpRequest request,
                                              std::shared_ptr<Responder> responder);
/// /tokenize and /detokenize.
std::shared_ptr<ModelJob> make_tokenize_job(ServiceContext& context, HttpRequest request,
                                            std::shared_ptr<Responder> responder);

}  // namespace moebox
