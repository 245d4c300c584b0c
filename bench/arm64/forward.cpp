// One process that computes a prompt of N_PROMPT arbitrary tokens and N_ANSWER greedy ones on one thread: what
// bench/arm64/run.py counts the instructions of.
//   forward MODEL N_PROMPT N_ANSWER
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>

#include "base/error.h"
#include "base/thread_team.h"
#include "io/checkpoint.h"
#include "models/model.h"
#include "runtime/engine.h"

namespace {

class WaitForEnd : public moebox::GenerationSink {
 public:
  bool on_token(const moebox::GeneratedToken&) override { return true; }
  void on_finish(moebox::FinishReason, const moebox::GenerationStats& stats, const moebox::Error* error) override {
    if (error != nullptr) std::fprintf(stderr, "%s\n", error->what());
    done_.set_value(error == nullptr ? stats.generated_tokens : -1);
  }
  int generated_tokens() { return done_.get_future().get(); }

 private:
  std::promise<int> done_;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::fprintf(stderr, "usage: forward MODEL N_PROMPT N_ANSWER\n");
    return 2;
  }
  const int n_prompt = std::atoi(argv[2]), n_answer = std::atoi(argv[3]);
  auto team = std::make_unique<moebox::ThreadTeam>(1);
  auto model = moebox::load_model(moebox::Checkpoint::open(argv[1]), *team);
  moebox::EngineOptions options;
  options.context_tokens = 512;
  options.kv_bytes = 32 * model->info().kv_block_bytes();
  options.max_sequences = 1;
  moebox::Engine engine(std::move(model), std::move(team), options);
  moebox::GenerationRequest request;
  for (int i = 0; i < n_prompt; ++i) request.prompt.push_back(100 + i);
  request.sampling.temperature = 0;
  request.max_new_tokens = n_answer;
  const auto sink = std::make_shared<WaitForEnd>();
  engine.submit(std::move(request), sink);
  return sink->generated_tokens() == n_answer ? 0 : 1;
} catch (const moebox::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
