// Which models are in memory: loads on the first request, keeps while in use, unloads after an idle time. Loading and
// unloading happen on a thread of their own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/api_error.h"
#include "server/backend.h"
#include "server/options.h"

namespace moebox {

/// A model in use: while a lease lives, the model stays loaded. Movable; give it back by destroying it.
class ModelLease {
 public:
  ModelLease() = default;
  ModelLease(std::shared_ptr<Backend> backend, std::function<void()> give_back)
      : backend_(std::move(backend)), give_back_(std::move(give_back)) {}
  ModelLease(ModelLease&& other) noexcept
      : backend_(std::move(other.backend_)), give_back_(std::exchange(other.give_back_, nullptr)) {}
  ModelLease& operator=(ModelLease&& other) noexcept {
    reset();
    backend_ = std::move(other.backend_);
    give_back_ = std::exchange(other.give_back_, nullptr);
    return *this;
  }
  ~ModelLease() { reset(); }

  explicit operator bool() const noexcept { return backend_ != nullptr; }
  Backend& operator*() const noexcept { return *backend_; }
  Backend* operator->() const noexcept { return backend_.get(); }
  /// The pool keeps the last reference: a model is never destroyed on the thread that lets go of a lease.
  void reset() {
    backend_.reset();
    if (const auto give_back = std::exchange(give_back_, nullptr)) give_back();
  }

 private:
  std::shared_ptr<Backend> backend_;
  std::function<void()> give_back_;
};

class ModelPool {
 public:
  using Ready = std::function<void(std::variant<ModelLease, ApiError>)>;

  /// Throws Error(invalid_argument) for names that are empty, or come twice.
  explicit ModelPool(const ServerOptions& options);
  /// Shuts down, and waits for a load that runs.
  ~ModelPool();

  /// Everybody who waits gets an ApiError(503), and so does everybody who comes later.
  void shut_down();

  /// The name under which the model is listed, for a name or an alias; empty: the first model. Nothing when it is not
  /// served here.
  const ServedModel* find(std::string_view name) const noexcept;
  const std::vector<ServedModel>& models() const noexcept;

  /// Calls `ready` with the model or with why not: at once when it is loaded, otherwise on the pool's thread. Thread
  /// safe.
  void acquire(const ServedModel& model, Ready ready);

  struct Status {
    std::string name;
    bool loaded = false;
    int leases = 0, waiting = 0;
    EngineStats engine;  // zeros when not loaded
  };
  std::vector<Status> status() const;
  /// True when no model that load_at_start asked for is still to be loaded.
  bool started() const noexcept;

  struct Counts {
    std::uint64_t loads = 0, unloads = 0, failures = 0;
  };
  Counts counts() const noexcept;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace moebox
