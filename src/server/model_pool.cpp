#include "server/model_pool.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "base/log.h"

namespace moebox {
namespace {

using Clock = std::chrono::steady_clock;

/// What the client is told of a model that cannot be loaded: which kind of trouble, never a path.
ApiError load_failure(const std::string& name, ErrorKind kind) {
  ApiError error;
  error.status = 503;
  error.code = "model_load_failed";
  error.worth_retrying = false;
  error.message = "The model '" + name + "' could not be loaded: ";
  switch (kind) {
    case ErrorKind::not_found:
      error.message += "its files are not there.";
      break;
    case ErrorKind::invalid_file:
      error.message += "its files do not hold together.";
      break;
    case ErrorKind::unsupported:
      error.message += "it uses something that this version does not implement.";
      break;
    case ErrorKind::resource:
      error.message += "there is not enough memory for it.";
      break;
    default:
      error.message += "the server's log has the reason.";
      break;
  }
  return error;
}

ApiError no_room(const std::string& name) {
  ApiError error;
  error.status = 503;
  error.code = "model_overloaded";
  error.retry_after_s = 10;
  error.message = "The model '" + name + "' cannot be loaded now: every other loaded model is in use.";
  return error;
}

ApiError shutting_down() { return to_api_error(Error(ErrorKind::cancelled, "shutdown"), {}); }

}  // namespace

struct ModelPool::State : std::enable_shared_from_this<ModelPool::State> {
  struct Entry {
    std::shared_ptr<Backend> backend;
    int leases = 0;
    std::vector<Ready> waiting;
    bool wanted = false;  // to be loaded even if nobody waits
    Clock::time_point last_used{};
  };

  std::vector<ServedModel> models;
  LanguageModelOptions model_options;
  std::chrono::milliseconds keep_alive{};
  int max_loaded = 0;
  std::function<std::shared_ptr<Backend>(const ServedModel&, const LanguageModelOptions&)> loader;

  mutable std::mutex mutex;
  std::condition_variable changed;
  std::vector<Entry> entries;  // one per model
  bool stopping = false;
  Counts counts;
  std::thread thread;

  ModelLease lease(std::size_t index) {
    Entry& entry = entries[index];
    ++entry.leases;
    return ModelLease(entry.backend, [state = shared_from_this(), index] {
      const std::lock_guard lock(state->mutex);
      Entry& entry = state->entries[index];
      --entry.leases;
      entry.last_used = Clock::now();
      state->changed.notify_all();
    });
  }

  int n_loaded() const {
    return static_cast<int>(
        std::count_if(entries.begin(), entries.end(), [](const Entry& e) { return e.backend != nullptr; }));
  }

  /// The least recently used model that nobody uses.
  Entry* idle() {
    Entry* oldest = nullptr;
    for (Entry& entry : entries) {
      if (entry.backend && entry.leases == 0 && (!oldest || entry.last_used < oldest->last_used)) oldest = &entry;
    }
    return oldest;
  }

  void unload(Entry& entry, std::unique_lock<std::mutex>& lock) {
    const std::size_t index = static_cast<std::size_t>(&entry - entries.data());
    auto backend = std::move(entry.backend);
    entry.backend = nullptr;
    ++counts.unloads;
    lock.unlock();
    log(LogLevel::info, "model_unloaded", {{"model", models[index].name}});
    backend.reset();
    lock.lock();
  }

  std::variant<std::shared_ptr<Backend>, ApiError> try_load(const ServedModel& model) const {
    const auto begin = Clock::now();
    try {
      auto backend = loader(model, model.options.value_or(model_options));
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
      log(LogLevel::info, "model_loaded",
          {{"model", model.name}, {"ms", ms}, {"context_tokens", backend->context_tokens()}});
      return backend;
    } catch (const Error& error) {
      log(LogLevel::error, "model_load_failed",
          {{"model", model.name}, {"kind", name(error.kind())}, {"error", error.what()}});
      return load_failure(model.name, error.kind());
    } catch (const std::bad_alloc&) {
      log(LogLevel::error, "model_load_failed", {{"model", model.name}, {"error", "out of memory"}});
      return load_failure(model.name, ErrorKind::resource);
    } catch (const std::exception& error) {
      log(LogLevel::error, "model_load_failed", {{"model", model.name}, {"error", error.what()}});
      return load_failure(model.name, ErrorKind::internal);
    }
  }

  void load(std::size_t index, std::unique_lock<std::mutex>& lock) {
    std::variant<std::shared_ptr<Backend>, ApiError> result = no_room(models[index].name);
    bool room = max_loaded <= 0 || n_loaded() < max_loaded;
    if (!room) {
      if (Entry* other = idle()) {
        unload(*other, lock);
        room = true;
      }
    }
    if (room) {
      lock.unlock();
      result = try_load(models[index]);
      lock.lock();
    }
    Entry& entry = entries[index];
    entry.wanted = false;
    entry.last_used = Clock::now();
    auto waiting = std::exchange(entry.waiting, {});
    std::vector<std::variant<ModelLease, ApiError>> answers;
    if (auto* backend = std::get_if<std::shared_ptr<Backend>>(&result)) {
      entry.backend = std::move(*backend);
      ++counts.loads;
      for (std::size_t i = 0; i < waiting.size(); ++i) answers.emplace_back(lease(index));
    } else {
      ++counts.failures;
      for (std::size_t i = 0; i < waiting.size(); ++i) answers.emplace_back(std::get<ApiError>(result));
    }
    lock.unlock();
    for (std::size_t i = 0; i < waiting.size(); ++i) waiting[i](std::move(answers[i]));
    // Whoever left meanwhile lives in these alone, with a lease: giving that back takes the lock.
    waiting.clear();
    answers.clear();
    lock.lock();
  }

  void run() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      const auto wanted = std::find_if(entries.begin(), entries.end(),
                                       [](const Entry& e) { return !e.backend && (e.wanted || !e.waiting.empty()); });
      if (wanted != entries.end()) {
        load(static_cast<std::size_t>(wanted - entries.begin()), lock);
        continue;
      }
      Entry* oldest = keep_alive.count() < 0 ? nullptr : idle();
      if (oldest == nullptr) {
        changed.wait(lock);
      } else if (Clock::now() >= oldest->last_used + keep_alive) {
        unload(*oldest, lock);
      } else {
        changed.wait_until(lock, oldest->last_used + keep_alive);
      }
    }
  }
};

ModelPool::ModelPool(const ServerOptions& options) : state_(std::make_shared<State>()) {
  if (options.models.empty())
    throw Error(ErrorKind::invalid_argument, "expected at least one model to serve, found none", "models");
  std::set<std::string> names;
  for (const ServedModel& model : options.models) {
    if (model.name.empty()) throw Error(ErrorKind::invalid_argument, "a served model has no name", model.path.string());
    if (!names.insert(model.name).second)
      throw Error(ErrorKind::invalid_argument, "two served models are named '" + model.name + "'", "models");
    for (const std::string& alias : model.aliases) {
      if (alias.empty() || !names.insert(alias).second) {
        throw Error(ErrorKind::invalid_argument, "the alias '" + alias + "' is empty or taken", "models");
      }
    }
  }
  State& state = *state_;
  state.models = options.models;
  state.model_options = options.model;
  state.keep_alive = options.keep_alive;
  state.max_loaded = options.max_loaded_models;
  state.loader = options.loader ? options.loader : load_backend;
  state.entries.resize(state.models.size());
  if (options.load_at_start) {
    const std::size_t most =
        options.max_loaded_models > 0 ? static_cast<std::size_t>(options.max_loaded_models) : state.entries.size();
    for (std::size_t i = 0; i < std::min(most, state.entries.size()); ++i) state.entries[i].wanted = true;
  }
  state.thread = std::thread([&state] { state.run(); });
}

ModelPool::~ModelPool() {
  shut_down();
  state_->thread.join();
  std::vector<std::shared_ptr<Backend>> backends;
  const std::lock_guard lock(state_->mutex);
  for (auto& entry : state_->entries) backends.push_back(std::move(entry.backend));
}

void ModelPool::shut_down() {
  std::vector<Ready> waiting;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
    for (auto& entry : state_->entries) {
      std::move(entry.waiting.begin(), entry.waiting.end(), std::back_inserter(waiting));
      entry.waiting.clear();
    }
  }
  for (const Ready& ready : waiting) ready(shutting_down());
}

const ServedModel* ModelPool::find(std::string_view name) const noexcept {
  const auto& models = state_->models;
  if (name.empty()) return &models.front();
  for (const ServedModel& model : models) {
    if (model.name == name || std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end())
      return &model;
  }
  return nullptr;
}

const std::vector<ServedModel>& ModelPool::models() const noexcept { return state_->models; }

void ModelPool::acquire(const ServedModel& model, Ready ready) {
  ModelLease lease;
  {
    const std::lock_guard lock(state_->mutex);
    const std::size_t index = static_cast<std::size_t>(&model - state_->models.data());
    auto& entry = state_->entries.at(index);
    if (entry.backend) {
      lease = state_->lease(index);
    } else if (!state_->stopping) {
      entry.waiting.push_back(std::move(ready));
      state_->changed.notify_all();
      return;
    }
  }
  if (lease)
    ready(std::move(lease));
  else
    ready(shutting_down());
}

std::vector<ModelPool::Status> ModelPool::status() const {
  const std::lock_guard lock(state_->mutex);
  std::vector<Status> all;
  for (std::size_t i = 0; i < state_->entries.size(); ++i) {
    const auto& entry = state_->entries[i];
    all.push_back({state_->models[i].name, entry.backend != nullptr, entry.leases,
                   static_cast<int>(entry.waiting.size()), entry.backend ? entry.backend->stats() : EngineStats{}});
  }
  return all;
}

bool ModelPool::started() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return std::none_of(state_->entries.begin(), state_->entries.end(), [](const auto& entry) { return entry.wanted; });
}

ModelPool::Counts ModelPool::counts() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->counts;
}

}  // namespace moebox
