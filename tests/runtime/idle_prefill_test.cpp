// Which of the answers that have ended become prompt, in which pieces, and that they leave all memory to requests.
// What comes of it in an engine: prefix_test.cpp.
#include "runtime/idle_prefill.h"

#include <gtest/gtest.h>

#include "runtime/scheduler.h"

namespace moebox {
namespace {

ModelInfo model_of_one_layer() {
  ModelInfo info;
  info.n_layers = 1;
  info.kv = {KvType::f32, 1, 8};
  return info;
}

class IdlePieces : public testing::Test {
 protected:
  explicit IdlePieces(int n_blocks = 8) : pool(model_of_one_layer(), n_blocks) {}

  /// One that has run to its end alone: its tokens are `first`, `first` + 1 ...
  SequenceList ended(int n_prompt, int n_answer, TokenId first = 0) {
    GenerationRequest request;
    for (int i = 0; i < n_prompt; ++i) request.prompt.push_back(first + i);
    SequenceList arrival;
    arrival.emplace_back(std::move(request), nullptr, n_prompt + n_answer);
    scheduler.add(std::move(arrival));
    for (bool over = false; !over;) {
      const ScheduledSpan span = scheduler.schedule().front();
      Sequence& sequence = *span.sequence;
      if (span.reaches_end()) sequence.tokens.push_back(first + static_cast<TokenId>(sequence.tokens.size()));
      scheduler.computed(sequence, span.n_tokens);
      over = static_cast<int>(sequence.tokens.size()) == sequence.max_tokens;
    }
    return scheduler.remove_if([](const Sequence&) { return true; });
  }

  /// The piece's tokens; 0: it is done.
  int compute_piece(Sequence& sequence, int most_tokens) {
    const auto& spans = scheduler.schedule_idle(sequence, most_tokens);
    if (spans.empty()) return 0;
    EXPECT_FALSE(spans.front().reaches_end());
    const int n_tokens = spans.front().n_tokens;
    scheduler.computed(sequence, n_tokens);
    scheduler.end_idle_step(sequence);
    return n_tokens;
  }

  BlockPool pool;
  Scheduler scheduler{pool, {64, 8, true, true}};
  IdlePrefill idle{true, 512};
};

TEST_F(IdlePieces, AreOfTheAnswerAndEndWithABlockWhereTheyCan) {
  idle.add(ended(40, 70));
  EXPECT_EQ(pool.idle(), 1) << "of the prompt; those of the answer are of no use";
  Sequence& sequence = idle.newest();
  std::vector<int> pieces, held;
  while (const int n = compute_piece(sequence, 20)) {
    pieces.push_back(n);
    held.push_back(idle.n_blocks());
  }
  EXPECT_EQ(pieces, (std::vector<int>{20, 12, 20, 12}));
  EXPECT_EQ(held, (std::vector<int>{2, 0, 3, 0}));
  EXPECT_EQ(pool.idle(), 3);
  EXPECT_EQ(pool.free(), 8);
  idle.drop_newest();
  EXPECT_TRUE(idle.empty());

  idle.add(ended(40, 70, 1000));
  EXPECT_EQ(compute_piece(idle.newest(), 50), 32);
  EXPECT_EQ(compute_piece(idle.newest(), 50), 32);
  EXPECT_EQ(compute_piece(idle.newest(), 50), 0);
}

TEST_F(IdlePieces, TakeNoBlockFromOtherContents) {
  ended(100, 1);
  EXPECT_EQ(pool.idle(), 3);
  idle.add(ended(40, 90, 1000));
  while (compute_piece(idle.newest(), 64) > 0) continue;
  EXPECT_EQ(pool.idle(), 3 + 4);
}

TEST_F(IdlePieces, LeaveAllBlocksToRequests) {
  idle.add(ended(40, 70));
  Sequence& sequence = idle.newest();
  ASSERT_EQ(compute_piece(sequence, 50), 32);
  ASSERT_EQ(compute_piece(sequence, 5), 5);
  EXPECT_EQ(pool.free(), 5);
  scheduler.interrupt_idle(sequence);
  EXPECT_EQ(pool.free(), 8);
  // Whole blocks were not computed in vain.
  EXPECT_EQ(compute_piece(sequence, 64), 32);
  EXPECT_EQ(sequence.blocks.size(), 0u);
  ended(8 * kv_block_tokens - 1, 1, 1000);
  EXPECT_EQ(scheduler.n_preemptions(), 0u);
  EXPECT_EQ(compute_piece(sequence, 64), 0) << "the prompt makes room for others: no time for the answer";
  EXPECT_EQ(pool.free(), 8);
  EXPECT_EQ(pool.idle(), 7);
}

TEST_F(IdlePieces, AreOfTheNewestAnswersThatFillABlock) {
  for (int i = 0; i < 20; ++i) idle.add(ended(40, 30, i * 100));
  for (int i = 19; i >= 4; --i) {
    ASSERT_FALSE(idle.empty());
    EXPECT_EQ(idle.newest().tokens.front(), i * 100);
    idle.drop_newest();
  }
  EXPECT_TRUE(idle.empty());
  idle.add(ended(40, 23));
  EXPECT_TRUE(idle.empty()) << "63 tokens";
  idle.add(ended(40, 24));
  EXPECT_FALSE(idle.empty());

  IdlePrefill none(false, 512);
  none.add(ended(40, 24));
  EXPECT_TRUE(none.empty());
}

/// Tokens of a piece, after many of them, where one takes so long.
int usual_piece(double ms_of_any, double ms_of_token, int max_batch_tokens = 512) {
  IdlePrefill idle(true, max_batch_tokens);
  for (int i = 0; i < 40; ++i) {
    const int n = idle.piece_tokens();
    idle.piece_took(n, ms_of_any + ms_of_token * n);
    EXPECT_GE(idle.piece_tokens(), 1);
    EXPECT_LE(idle.piece_tokens(), 2 * n);
  }
  return idle.piece_tokens();
}

TEST(IdlePiece, TakesThirtyMillisecondsOrTwoSteps) {
  EXPECT_NEAR(usual_piece(0, 0.5), 60, 1);
  EXPECT_NEAR(usual_piece(10, 0.5), 40, 1);
  EXPECT_EQ(usual_piece(0, 0.001), 512);
  EXPECT_EQ(usual_piece(0, 0.001, 20), 20);
  EXPECT_NEAR(usual_piece(100, 10), 12, 1) << "a single token takes 110 ms";
  EXPECT_LE(usual_piece(0, 1000), 2);
}

TEST(IdlePiece, IsNotJudgedByARest) {
  IdlePrefill idle(true, 512);
  for (int i = 0; i < 40; ++i) idle.piece_took(idle.piece_tokens(), 20);
  ASSERT_EQ(idle.piece_tokens(), 512);
  idle.piece_took(3, 20);
  EXPECT_EQ(idle.piece_tokens(), 512);
  idle.piece_took(300, 60);
  EXPECT_NEAR(idle.piece_tokens(), 200, 1);
}

}  // namespace
}  // namespace moebox
