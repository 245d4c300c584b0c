#include "runtime/scheduler.h"

#include <map>

#include <gtest/gtest.h>

namespace moebox {
namespace {

ModelInfo tiny_model() {
  ModelInfo info;
  info.n_layers = 1;
  info.kv = {KvType::f32, 1, 8};
  return info;
}

SequenceList sequence_of(int n_prompt, int max_tokens, std::uint64_t id) {
  GenerationRequest request;
  request.prompt.assign(static_cast<std::size_t>(n_prompt), 1);
  SequenceList list;
  list.emplace_back(std::move(request), nullptr, max_tokens).id = id;
  return list;
}

/// Plays the engine without a model: every sequence that reaches its end gets one more token.
void pretend_to_run(const std::vector<ScheduledSpan>& spans) {
  for (const ScheduledSpan& span : spans) {
    const bool end = span.reaches_end();
    span.sequence->n_computed += span.n_tokens;
    if (end) span.sequence->tokens.push_back(1);
  }
}

TEST(Scheduler, ALongPromptIsCutAndRunsBesideDecodes) {
  BlockPool pool(tiny_model(), 100);
  Scheduler scheduler(pool, {64, 8});
  scheduler.add(sequence_of(10, 100, 1));
  pretend_to_run(scheduler.schedule());
  scheduler.add(sequence_of(150, 200, 2));
  std::vector<int> chunks;
  for (int step = 0; step < 3; ++step) {
    const auto& spans = scheduler.schedule();
    ASSERT_EQ(spans.size(), 2u);
    EXPECT_EQ(spans[0].sequence->id, 1u);
    EXPECT_EQ(spans[0].n_tokens, 1);
    chunks.push_back(spans[1].n_tokens);
    pretend_to_run(spans);
  }
  EXPECT_EQ(chunks, (std::vector<int>{63, 63, 24}));
}

TEST(Scheduler, APromptGivesWayToAnswersUnlessManyPromptsWait) {
  BlockPool pool(tiny_model(), 1000);
  PromptPacer pacer({128, 2});
  Scheduler scheduler(pool, {128, 64, false, true, 128}, nullptr, &pacer);
  scheduler.add(sequence_of(10, 400, 1));
  pretend_to_run(scheduler.schedule());
  scheduler.add(sequence_of(300, 400, 2));
  const auto& measured = scheduler.schedule();
  ASSERT_EQ(measured.size(), 1u) << "a step of the answer alone, which is not known yet";
  pacer.step_took(1, 0, 10);
  pretend_to_run(measured);
  const auto& paced = scheduler.schedule();
  ASSERT_EQ(paced.size(), 2u);
  EXPECT_EQ(paced[1].n_tokens, pacer.tokens(1));
  EXPECT_LT(paced[1].n_tokens, 127);
  pretend_to_run(paced);
  scheduler.add(sequence_of(50, 400, 3));
  EXPECT_EQ(scheduler.schedule()[1].n_tokens, 127) << "two wait for their first token, one for its next";
}

TEST(Scheduler, RunningAnswersWaitForFewerTokensOfAPrompt) {
  BlockPool pool(tiny_model(), 100);
  Scheduler scheduler(pool, {128, 8, false, true, 32});
  scheduler.add(sequence_of(300, 400, 1));
  EXPECT_EQ(scheduler.schedule().front().n_tokens, 128);
  pretend_to_run(scheduler.schedule());
  pretend_to_run(scheduler.schedule());
  pretend_to_run(scheduler.schedule());  // its first token is there
  scheduler.add(sequence_of(100, 400, 2));
  const auto& spans = scheduler.schedule();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].n_tokens, 1);
  EXPECT_EQ(spans[1].n_tokens, 32);
}

TEST(Scheduler, NoMoreThanTheAllowedSequencesRun) {
  BlockPool pool(tiny_model(), 100);
  Scheduler scheduler(pool, {64, 2});
  for (std::uint64_t id = 1; id <= 5; ++id) scheduler.add(sequence_of(4, 20, id));
  EXPECT_EQ(scheduler.schedule().size(), 2u);
  EXPECT_EQ(scheduler.n_running(), 2);
  EXPECT_EQ(scheduler.n_waiting(), 3);
  const auto removed = scheduler.remove_if([](const Sequence& s) { return s.id == 1; });
  EXPECT_EQ(removed.size(), 1u);
  scheduler.schedule();
  EXPECT_EQ(scheduler.n_running(), 2);
}

// Memory for far less than all: everyone still finishes, the books balance, and the oldest is never preempted.
TEST(Scheduler, UnderPressureEveryoneFinishesAndNoBlockIsLost) {
  BlockPool pool(tiny_model(), 6);  // 192 positions
  Scheduler scheduler(pool, {64, 8});
  for (std::uint64_t id = 1; id <= 8; ++id) scheduler.add(sequence_of(20 + static_cast<int>(id) * 7, 180, id));
  std::map<std::uint64_t, int> finished;
  for (int step = 0; step < 20000 && !scheduler.idle(); ++step) {
    const auto& spans = scheduler.schedule();
    ASSERT_FALSE(spans.empty()) << "a stall at step " << step;
    int tokens = 0;
    for (const ScheduledSpan& span : spans) {
      tokens += span.n_tokens;
      ASSERT_GE(static_cast<int>(span.sequence->blocks.size()),
                BlockPool::needed(span.sequence->n_computed + span.n_tokens));
    }
    ASSERT_LE(tokens, 64);
    pretend_to_run(spans);
    for (const auto& done :
         scheduler.remove_if([](const Sequence& s) { return static_cast<int>(s.tokens.size()) >= s.max_tokens; }))
      finished[done.id] = done.stats.preemptions;
  }
  EXPECT_EQ(finished.size(), 8u);
  EXPECT_EQ(finished[1], 0);
  EXPECT_GT(scheduler.n_preemptions(), 0u);
  EXPECT_EQ(pool.free(), pool.total());
}

TEST(BlockPool, GrowTakesAllOrNothing) {
  BlockPool pool(tiny_model(), 3);
  std::vector<int> a, b;
  a.reserve(3);
  b.reserve(3);
  EXPECT_TRUE(pool.grow(a, 33));
  EXPECT_EQ(a.size(), 2u);
  EXPECT_FALSE(pool.grow(b, 64));
  EXPECT_TRUE(b.empty());
  EXPECT_TRUE(pool.grow(b, 32));
  EXPECT_EQ(pool.free(), 0);
  pool.release(a);
  EXPECT_EQ(pool.free(), 2);
}

}  // namespace
}  // namespace moebox
