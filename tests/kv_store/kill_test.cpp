// Processes that are killed at random moments while they write and read: every start succeeds, and every answer is the
// one without a store. MOEBOX_KV_STORE_KILLS says how many are killed.
#include <csignal>
#include <cstdlib>

#include <sys/wait.h>

#include "stores.h"

namespace moebox {
namespace {

using namespace test;

constexpr int right = 0, wrong_bits = 3, no_start = 4, no_answer = 5;

Tokens prompt_of(unsigned which, int vocab) {
  Tokens prompt = tokens_of(64, which % 3, vocab);
  const Tokens rest = tokens_of(40 + static_cast<int>(which % 5) * 30, 100 + which, vocab);
  prompt.insert(prompt.end(), rest.begin(), rest.end());
  return prompt;
}

struct Expected {
  Tokens tokens;
  std::vector<float> logprobs;
};

/// What a process does until it is killed: answers, and compares.
int work(const fs::path& folder, bool encrypted, unsigned seed, int n_answers, int report) {
  std::shared_ptr<KvStore> store;
  try {
    store = open_store(folder, encrypted ? "the key of this test" : "");
  } catch (const std::exception&) {
    return no_start;
  }
  const char started = 's';
  if (::write(report, &started, 1) != 1) return no_start;
  const auto engine = engine_of(seed % 2 == 0, store), plain = engine_of(seed % 2 == 0, nullptr);
  std::mt19937 random(seed);
  int n_found = 0;
  for (int i = 0; i < n_answers; ++i) {
    const Tokens prompt = prompt_of(random() % 40, plain->model().vocab_size);
    const auto found = answer(*engine, greedy(prompt, 8)), expected = answer(*plain, greedy(prompt, 8));
    if (found->tokens.size() != 8) return no_answer;
    if (found->tokens != expected->tokens || found->logprobs != expected->logprobs) return wrong_bits;
    n_found += found->stats.cached_tokens;
  }
  const char some = n_found > 0 ? 'f' : '-';
  return ::write(report, &some, 1) == 1 ? right : no_answer;
}

/// What it reported, and how it ended; killed after `patience` unless that is negative.
int run(const fs::path& folder, bool encrypted, unsigned seed, std::chrono::microseconds patience,
        std::string& reports) {
  int ends[2];
  if (::pipe(ends) != 0) return no_start;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    ::_exit(work(folder, encrypted, seed, patience.count() < 0 ? 12 : 1'000'000, ends[1]));
  }
  ::close(ends[1]);
  char letter = 0;
  reports.clear();
  // Moments are counted from the store's opening on, and some lie within it.
  if (seed % 5 != 0 && ::read(ends[0], &letter, 1) == 1) reports += letter;
  if (patience.count() >= 0) {
    ::usleep(static_cast<useconds_t>(patience.count()));
    ::kill(child, SIGKILL);
  }
  while (::read(ends[0], &letter, 1) == 1) reports += letter;
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

TEST(Kill, NoMomentIsAWrongOne) {
  const char* asked = std::getenv("MOEBOX_KV_STORE_KILLS");
  const int n_kills = asked != nullptr ? std::atoi(asked) : 20;
  std::mt19937 random(1);
  for (const bool encrypted : {false, true}) {
    TemporaryFolder above;
    int n_with_blocks = 0;
    std::string reports;
    for (int i = 0; i < (n_kills + 1) / 2; ++i) {
      const auto patience = std::chrono::microseconds(random() % (i % 3 == 0 ? 20'000 : 300'000));
      const int end = run(above / "store", encrypted, static_cast<unsigned>(i), patience, reports);
      ASSERT_EQ(end, -SIGKILL) << "kill " << i << ": 3 is a wrong answer, 4 a start that failed";
      n_with_blocks += segments(above / "store").empty() ? 0 : 1;
    }
    EXPECT_GT(n_with_blocks, n_kills / 8);
    for (unsigned seed = 1; seed <= 2; ++seed) {
      EXPECT_EQ(run(above / "store", encrypted, 1000 + seed, std::chrono::microseconds(-1), reports), right);
      EXPECT_EQ(reports, "sf") << "nothing was found";
    }
  }
}

}  // namespace
}  // namespace moebox
