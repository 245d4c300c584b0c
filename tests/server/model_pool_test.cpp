#include "server/model_pool.h"

#include <future>

#include <gtest/gtest.h>

#include "fake_backend.h"
#include "test_server.h"

namespace moebox {
namespace {

using namespace std::chrono_literals;
using test::eventually;
using Result = std::variant<ModelLease, ApiError>;

struct Loader {
  std::atomic<int> loads{0}, alive{0};
  std::chrono::milliseconds time{0};
  std::optional<Error> error;

  ServerOptions options(std::vector<std::string> names) {
    ServerOptions options;
    for (const std::string& name : names) options.models.push_back({name, "/somewhere/" + name, {name + "-alias"}});
    options.loader = [this](const ServedModel&, const LanguageModelOptions&) -> std::shared_ptr<Backend> {
      ++loads;
      std::this_thread::sleep_for(time);
      if (error) throw *error;
      ++alive;
      return std::shared_ptr<Backend>(new test::FakeBackend(), [this](Backend* backend) {
        delete backend;
        --alive;
      });
    };
    return options;
  }
};

std::future<Result> acquire(ModelPool& pool, std::string_view name) {
  auto promise = std::make_shared<std::promise<Result>>();
  auto future = promise->get_future();
  pool.acquire(*pool.find(name), [promise](Result result) { promise->set_value(std::move(result)); });
  return future;
}

TEST(ModelPool, FindsByNameAliasAndDefault) {
  Loader loader;
  const ModelPool pool(loader.options({"a", "b"}));
  EXPECT_EQ(pool.find("b-alias")->name, "b");
  EXPECT_EQ(pool.find("")->name, "a");
  EXPECT_EQ(pool.find("c"), nullptr);
  EXPECT_EQ(loader.loads, 0);
}

TEST(ModelPool, RefusesNamesThatClash) {
  Loader loader;
  EXPECT_THROW(ModelPool(loader.options({})), Error);
  EXPECT_THROW(ModelPool(loader.options({"a", "a"})), Error);
  EXPECT_THROW(ModelPool(loader.options({"a", "a-alias"})), Error);
  EXPECT_THROW(ModelPool(loader.options({""})), Error);
}

TEST(ModelPool, ManyFirstRequestsLoadOnce) {
  Loader loader;
  loader.time = 50ms;
  ModelPool pool(loader.options({"a"}));
  std::vector<std::future<Result>> results;
  for (int i = 0; i < 20; ++i) results.push_back(acquire(pool, "a"));
  for (auto& result : results) EXPECT_TRUE(std::get<ModelLease>(result.get()));
  EXPECT_EQ(loader.loads, 1);
}

TEST(ModelPool, AFailedLoadIsAnAnswerWithoutPathsAndIsTriedAgain) {
  Loader loader;
  loader.error.emplace(ErrorKind::invalid_file, "secret reason", "/somewhere/a");
  ModelPool pool(loader.options({"a"}));
  for (int i = 1; i <= 2; ++i) {
    const Result result = acquire(pool, "a").get();
    const ApiError& error = std::get<ApiError>(result);
    EXPECT_EQ(error.status, 503);
    EXPECT_EQ(error.code, "model_load_failed");
    EXPECT_EQ(error.body().find("secret"), std::string::npos);
    EXPECT_EQ(error.body().find("somewhere"), std::string::npos);
    EXPECT_EQ(loader.loads, i);
  }
  loader.error.reset();
  EXPECT_TRUE(std::holds_alternative<ModelLease>(acquire(pool, "a").get()));
}

TEST(ModelPool, UnloadsWhatIsIdleAndKeepsWhatIsUsed) {
  Loader loader;
  ServerOptions options = loader.options({"a"});
  options.keep_alive = 30ms;
  ModelPool pool(options);
  {
    const Result lease = acquire(pool, "a").get();
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(loader.alive, 1) << "a model in use stays";
  }
  EXPECT_TRUE(eventually([&] { return loader.alive == 0; }));
  EXPECT_EQ(pool.counts().unloads, 1u);
  EXPECT_TRUE(std::holds_alternative<ModelLease>(acquire(pool, "a").get()));
  EXPECT_EQ(loader.loads, 2);
}

TEST(ModelPool, NegativeKeepAliveIsForEver) {
  Loader loader;
  ServerOptions options = loader.options({"a"});
  options.keep_alive = -1ms;
  ModelPool pool(options);
  {
    const Result lease = acquire(pool, "a").get();
  }
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(loader.alive, 1);
}

TEST(ModelPool, MakesRoomByUnloadingTheOldestIdleModel) {
  Loader loader;
  ServerOptions options = loader.options({"a", "b", "c"});
  options.max_loaded_models = 2;
  ModelPool pool(options);
  {
    const Result a = acquire(pool, "a").get();
  }
  std::this_thread::sleep_for(5ms);
  {
    const Result b = acquire(pool, "b").get();
  }
  const Result c = acquire(pool, "c").get();
  ASSERT_TRUE(std::holds_alternative<ModelLease>(c));
  const auto status = pool.status();
  EXPECT_FALSE(status[0].loaded);
  EXPECT_TRUE(status[1].loaded);
  const Result b = acquire(pool, "b").get();
  const Result a = acquire(pool, "a").get();
  ASSERT_TRUE(std::holds_alternative<ApiError>(a)) << "both others are in use";
  EXPECT_EQ(std::get<ApiError>(a).code, "model_overloaded");
  EXPECT_GT(std::get<ApiError>(a).retry_after_s, 0);
}

TEST(ModelPool, ACallbackMayBeTheLastOwnerOfItsLease) {
  Loader loader;
  loader.time = 20ms;
  ModelPool pool(loader.options({"a"}));
  auto called = std::make_shared<std::promise<void>>();
  auto future = called->get_future();
  // As for a client that left meanwhile: when the pool lets go of the callback, the lease comes back.
  pool.acquire(*pool.find("a"), [called, owner = std::make_shared<ModelLease>()](Result result) {
    *owner = std::move(std::get<ModelLease>(result));
    called->set_value();
  });
  future.get();
  EXPECT_TRUE(eventually([&] { return pool.status().front().leases == 0; }));
}

TEST(ModelPool, ShuttingDownAnswersThoseWhoWait) {
  Loader loader;
  loader.time = 200ms;
  auto pool = std::make_unique<ModelPool>(loader.options({"a", "b"}));
  auto a = acquire(*pool, "a");
  auto b = acquire(*pool, "b");
  std::this_thread::sleep_for(20ms);
  pool->shut_down();
  EXPECT_EQ(std::get<ApiError>(b.get()).status, 503);
  EXPECT_EQ(std::get<ApiError>(acquire(*pool, "a").get()).status, 503);
  pool.reset();
  EXPECT_EQ(std::get<ApiError>(a.get()).status, 503);
  EXPECT_EQ(loader.alive, 0);
}

TEST(ModelPool, LoadsAtStartWhenAsked) {
  Loader loader;
  loader.time = 50ms;
  ServerOptions options = loader.options({"a", "b"});
  options.load_at_start = true;
  ModelPool pool(options);
  EXPECT_FALSE(pool.started());
  EXPECT_TRUE(eventually([&] { return pool.started(); }));
  EXPECT_EQ(loader.alive, 2);
}

}  // namespace
}  // namespace moebox
