// What tests of the KV store share: a folder of its own, tiny models, and answers with the bits they were made of.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "kv_store/kv_store.h"
#include "runtime/engine.h"

namespace moebox::test {

namespace fs = std::filesystem;
using Tokens = std::vector<TokenId>;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "moebox-kv-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for the test");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code none;
    fs::remove_all(path_, none);
  }
  fs::path operator/(const std::string& name) const { return path_ / name; }

 private:
  fs::path path_;
};

inline std::shared_ptr<KvStore> open_store(const fs::path& folder, const std::string& key = "") {
  return std::make_shared<KvStore>(KvStoreOptions{folder, KvStoreOptions::least_capacity_bytes, key});
}

/// The store's files, in order.
inline std::vector<fs::path> segments(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".kv") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

inline std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void overwrite(const fs::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(content.data(), static_cast<std::streamsize>(content.size()));
}

inline Tokens tokens_of(int count, unsigned seed, int vocab = 100) {
  std::mt19937 random(seed);
  Tokens tokens(static_cast<std::size_t>(count));
  for (TokenId& id : tokens) id = static_cast<TokenId>(random() % static_cast<unsigned>(vocab));
  return tokens;
}

class Answered final : public GenerationSink {
 public:
  bool on_token(const GeneratedToken& token) override {
    tokens.push_back(token.id);
    logprobs.push_back(token.logprob);
    return true;
  }
  void on_finish(FinishReason why, const GenerationStats& figures, const Error*) override {
    reason = why;
    stats = figures;
    done_.set_value();
  }
  bool wait() { return done_.get_future().wait_for(std::chrono::minutes(2)) == std::future_status::ready; }

  Tokens tokens;
  std::vector<float> logprobs;
  FinishReason reason = FinishReason::error;
  GenerationStats stats;

 private:
  std::promise<void> done_;
};

inline const Checkpoint& tiny_model(bool latent) {
  static const Checkpoint llama = Checkpoint::open(MOEBOX_TEST_DIR "/golden/transformers/models/llama_gqa");
  static const Checkpoint deepseek = Checkpoint::open(MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3");
  return latent ? deepseek : llama;
}

inline std::unique_ptr<Engine> engine_of(bool latent, std::shared_ptr<BlockStore> store, int n_blocks = 64,
                                         KvType kv_type = KvType::f16) {
  EngineOptions options;
  options.context_tokens = 256;
  options.store = std::move(store);
  options.model_identity = latent ? "latent" : "dense";
  auto team = std::make_unique<ThreadTeam>(2);
  ModelOptions model_options;
  model_options.kv_type = kv_type;
  auto model = load_model(tiny_model(latent), *team, model_options);
  options.kv_bytes = model->info().kv_block_bytes() * static_cast<std::size_t>(n_blocks);
  return std::make_unique<Engine>(std::move(model), std::move(team), options);
}

inline GenerationRequest greedy(Tokens prompt, int n_new) {
  GenerationRequest request;
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.sampling.n_logprobs = 0;
  request.max_new_tokens = n_new;
  return request;
}

inline std::shared_ptr<Answered> answer(Engine& engine, GenerationRequest request) {
  auto sink = std::make_shared<Answered>();
  engine.submit(std::move(request), sink);
  EXPECT_TRUE(sink->wait());
  return sink;
}

}  // namespace moebox::test
