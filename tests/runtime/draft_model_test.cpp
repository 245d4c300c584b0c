// Drafts by a second model change the speed and nothing else: answers with and without it are compared by bits. It
// guesses all when it is the model itself, whatever happens to its cache, and next to nothing when it is another one.
#include <gtest/gtest.h>

#include "runtime/draft_chooser.h"
#include "runtime/drafted_answers.h"
#include "spec/edited_model.h"
#include "speed.h"

namespace moebox {
namespace {

using namespace test;

EngineOptions with_draft_model(EngineOptions options) {
  options.speculation = Speculation::draft;
  options.always_draft = true;
  return options;
}

int drafted(const std::vector<DraftedAnswer>& answers) {
  int sum = 0;
  for (const DraftedAnswer& answer : answers) sum += answer.stats.drafted_tokens;
  return sum;
}

const char* const dense_model = "transformers/models/llama_gqa";
const char* const latent_model = "deepseek/models/tiny-v3";  // and experts

struct Pair {
  const char* label;
  const char* model;
  const char* draft;
  bool same() const { return model == draft; }
};

class DraftModel : public testing::TestWithParam<std::tuple<Pair, Isa>> {
 protected:
  static const Pair& pair() { return std::get<0>(GetParam()); }
  static std::unique_ptr<Engine> engine(const EngineOptions& options, std::size_t n_blocks = 0) {
    return make_engine(golden_model(pair().model), options, std::get<1>(GetParam()), n_blocks,
                       options.speculation == Speculation::draft ? &golden_model(pair().draft) : nullptr);
  }
};

INSTANTIATE_TEST_SUITE_P(Isas, DraftModel,
                         testing::Combine(testing::Values(Pair{"DenseByItself", dense_model, dense_model},
                                                          Pair{"LatentByItself", latent_model, latent_model}),
                                          testing::ValuesIn(available_isas().begin(), available_isas().end())),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param).label) + "_" +
                                  std::string(moebox::name(std::get<1>(info.param)));
                         });
INSTANTIATE_TEST_SUITE_P(Strangers, DraftModel,
                         testing::Combine(testing::Values(Pair{"Dense", dense_model, "transformers/models/llama_mha"},
                                                          Pair{"Latent", latent_model, "deepseek/models/tiny-v2"}),
                                          testing::Values(available_isas().back())),
                         [](const auto& info) { return std::string(std::get<0>(info.param).label); });

TEST_P(DraftModel, ChangesNoBitOfAnyAnswer) {
  const int n_requests = test::slow_machine || std::get<1>(GetParam()) == Isa::scalar ? 8 : 24;
  EngineOptions plain;
  plain.context_tokens = 96;
  const auto without = engine(plain);
  const std::vector<DraftedAnswer> expected = answers_of(*without, n_requests);

  const auto together = engine(with_draft_model(plain));
  std::vector<DraftedAnswer> answers = answers_of(*together, n_requests);
  expect_same(answers, expected);
  const EngineStats stats = stats_at_rest(*together), plain_stats = stats_at_rest(*without);
  EXPECT_EQ(stats.accepted_tokens, static_cast<std::uint64_t>(accepted(answers)));
  EXPECT_EQ(stats.draft_tokens, static_cast<std::uint64_t>(drafted(answers)));
  EXPECT_EQ(stats.generated_tokens, plain_stats.generated_tokens);
  EXPECT_EQ(stats.prompt_tokens, plain_stats.prompt_tokens);
  // Half of the requests are sampled, some have penalties or a budget on experts.
  if (pair().same())
    EXPECT_GT(accepted(answers), drafted(answers) / 8);
  else
    EXPECT_LT(accepted(answers), drafted(answers) / 50);
  EXPECT_GT(drafted(answers), 0);

  // Few at a time, their prompts in pieces; and by chance, as the measured times have it.
  EngineOptions few = with_draft_model(plain);
  few.max_sequences = 3;
  few.max_batch_tokens = 14;
  answers = answers_of(*engine(few), n_requests);
  expect_same(answers, expected);
  EXPECT_GT(drafted(answers), 0);
  few.always_draft = false;
  expect_same(answers_of(*engine(few), n_requests), expected);

  // With memory for three of them: they are preempted and computed again.
  answers = answers_of(*engine(with_draft_model(plain), 7), n_requests);
  expect_same(answers, expected);
  EXPECT_GT(drafted(answers), 0);
  int preemptions = 0;
  for (const DraftedAnswer& answer : answers) preemptions += answer.stats.preemptions;
  EXPECT_GT(preemptions, 0);
}

/// Models that are drafted for by themselves.
class SameModel : public testing::TestWithParam<const char*> {
 protected:
  static std::unique_ptr<Engine> engine(EngineOptions options, std::size_t n_blocks = 0) {
    if (options.context_tokens == 0) options.context_tokens = 256;
    return make_engine(golden_model(GetParam()), options, available_isas().back(), n_blocks,
                       options.speculation == Speculation::draft ? &golden_model(GetParam()) : nullptr);
  }

  /// Submitted together, greedy, each of a prompt; and their answers.
  static std::vector<DraftedAnswer> answers(Engine& engine, const std::vector<Ids>& prompts, int n_new,
                                            const std::function<void(GenerationRequest&, DraftSink&)>& change = {}) {
    std::promise<void> all_submitted;
    const auto gate = std::make_shared<Gate>(all_submitted.get_future().share());
    std::vector<std::shared_ptr<DraftSink>> sinks;
    for (const Ids& prompt : prompts) {
      sinks.push_back(std::make_shared<DraftSink>());
      GenerationRequest request;
      request.prompt = prompt;
      request.sampling.temperature = 0;
      request.max_new_tokens = n_new;
      request.processors = {gate, std::make_shared<Witness>(sinks.back()->answer)};
      if (change) change(request, *sinks.back());
      engine.submit(std::move(request), sinks.back());
    }
    all_submitted.set_value();
    std::vector<DraftedAnswer> result;
    for (const auto& sink : sinks) {
      sink->wait();
      result.push_back(sink->answer);
    }
    EXPECT_EQ(stats_at_rest(engine).kv_blocks_used, 0);
    return result;
  }

  static Ids prompt(int n_tokens, unsigned seed) {
    std::mt19937 random(seed);
    Ids ids(static_cast<std::size_t>(n_tokens));
    for (TokenId& id : ids) id = static_cast<TokenId>(random() % 160);
    return ids;
  }

  /// Nearly all drafts are right: the two may round the same token differently, where one computes it as a prompt's and
  /// the other as an answer's, or with other sums than the instruction set's.
  static void expect_nearly_all_right(const std::vector<DraftedAnswer>& answers) {
    EXPECT_GT(drafted(answers), 0);
    EXPECT_GE(accepted(answers) * 20, drafted(answers) * 19)
        << accepted(answers) << " of " << drafted(answers) << " right";
  }
};

INSTANTIATE_TEST_SUITE_P(
    Models, SameModel, testing::Values(dense_model, latent_model, "moe/models/qwen2moe"), [](const auto& info) {
      const std::string_view model = info.param;
      return std::string(model == dense_model ? "dense" : model == latent_model ? "latent" : "experts");
    });

TEST_P(SameModel, DraftsAreRightAndStepsFew) {
  const auto without = engine({}), with = engine(with_draft_model({}));
  const std::vector<Ids> prompts = {prompt(20, 1), prompt(33, 2), prompt(1, 3), prompt(64, 4), prompt(7, 5)};
  const auto expected = answers(*without, prompts, 60), found = answers(*with, prompts, 60);
  expect_same(found, expected);
  expect_nearly_all_right(found);
  EXPECT_GT(accepted(found), 5 * 60 * 8 / 10);
  EXPECT_LT(with->stats().steps, without->stats().steps / 3);
}

// Long prompts in pieces, one of them with too few blocks for all: preempted sequences find their blocks, or compute
// them again.
TEST_P(SameModel, DraftsAreRightAfterPreemption) {
  const std::vector<Ids> prompts = {prompt(50, 1), prompt(61, 2), prompt(33, 3), prompt(90, 4), prompt(70, 5)};
  const auto expected = answers(*engine({}), prompts, 70);
  EngineOptions options = with_draft_model({});
  options.context_tokens = 192;
  options.max_sequences = 8;
  options.max_batch_tokens = 40;
  const auto found = answers(*engine(options, 11), prompts, 70);
  expect_same(found, expected);
  expect_nearly_all_right(found);
  int preemptions = 0;
  for (const DraftedAnswer& answer : found) preemptions += answer.stats.preemptions;
  EXPECT_GT(preemptions, 0);
}

TEST_P(SameModel, DraftsAreRightBehindAPrefixThatWasFound) {
  const int n_turns = 3;
  EngineOptions options;
  options.context_tokens = 256;
  const auto without = engine(options), with = engine(with_draft_model(options));
  for (int round = 0; round < 2; ++round) {
    const std::vector<DraftedAnswer> expected = turns(*without, n_turns, true), found = turns(*with, n_turns, true);
    expect_same(found, expected);
    expect_nearly_all_right(found);
    for (std::size_t turn = 0; turn < n_turns; ++turn)
      EXPECT_EQ(found[turn].stats.cached_tokens, expected[turn].stats.cached_tokens);
  }
}

// Who ends with the first token leaves blocks that the draft model has never seen; those who share them catch up with
// the same blocks at the same time.
TEST_P(SameModel, ManyCatchUpWithBlocksThatTheyShare) {
  const Ids begin = prompt(150, 9);
  std::vector<Ids> prompts(6, begin);
  for (std::size_t i = 0; i < prompts.size(); ++i) prompts[i].push_back(static_cast<TokenId>(i + 1));
  prompts.push_back(begin);
  for (const int n_batch : {64, 512}) {
    EngineOptions plain;
    plain.max_sequences = 16;
    plain.max_batch_tokens = n_batch;
    const auto without = engine(plain), with = engine(with_draft_model(plain));
    for (Engine* one : {without.get(), with.get()}) answers(*one, {begin}, 1);
    const auto expected = answers(*without, prompts, 40), found = answers(*with, prompts, 40);
    expect_same(found, expected);
    expect_nearly_all_right(found);
    for (const DraftedAnswer& answer : found) EXPECT_EQ(answer.stats.cached_tokens, 128);
  }
}

// Several choices of one prompt, which differ by their random numbers.
TEST_P(SameModel, ChoicesOfOnePrompt) {
  int choice = 0;
  const auto sampled = [&](GenerationRequest& request, DraftSink&) {
    request.sampling.temperature = 0.4f;
    request.sampling.seed = 5;
    request.choice = choice++;
  };
  const std::vector<Ids> prompts(5, prompt(40, 6));
  const auto without = engine({}), with = engine(with_draft_model({}));
  for (Engine* one : {without.get(), with.get()}) answers(*one, {prompts[0]}, 1);  // what all find in the cache
  const auto expected = answers(*without, prompts, 40, sampled);
  choice = 0;
  const auto found = answers(*with, prompts, 40, sampled);
  expect_same(found, expected);
  EXPECT_NE(found[0].tokens, found[1].tokens);
  EXPECT_GT(accepted(found), 0);
}

TEST_P(SameModel, AnswersEndInsideARun) {
  const auto with = engine(with_draft_model({})), without = engine({});
  const std::vector<Ids> prompts = {prompt(30, 7)};
  const DraftedAnswer whole = answers(*without, prompts, 40).front();
  // The first token that has not come before, from the fifth on.
  std::size_t end = 4;
  while (std::find(whole.tokens.begin(), whole.tokens.begin() + static_cast<std::ptrdiff_t>(end), whole.tokens[end]) !=
         whole.tokens.begin() + static_cast<std::ptrdiff_t>(end))
    ++end;
  ASSERT_LT(end, 12u);
  const auto expect_both = [&](FinishReason reason, std::size_t n_tokens, int n_new, const auto& change) {
    const auto expected = answers(*without, prompts, n_new, change), found = answers(*with, prompts, n_new, change);
    expect_same(found, expected);
    EXPECT_EQ(found[0].reason, reason);
    EXPECT_EQ(found[0].tokens.size(), n_tokens);
    EXPECT_GT(found[0].stats.accepted_tokens, 0);
  };
  const int n = static_cast<int>(end);
  expect_both(FinishReason::stop, end, 40,
              [&](GenerationRequest& request, DraftSink&) { request.stop_tokens = {whole.tokens[end]}; });
  expect_both(FinishReason::length, end, n, [](GenerationRequest&, DraftSink&) {});
  expect_both(FinishReason::stop, end, 40,
              [&](GenerationRequest&, DraftSink& sink) { sink.on_each = [n](int i) { return i < n; }; });
  expect_both(FinishReason::error, end, 40, [&](GenerationRequest&, DraftSink& sink) {
    sink.on_each = [n](int i) -> bool { return i < n ? true : throw std::runtime_error("full"); };
  });
}

TEST_P(SameModel, ACancelledSequenceGetsNoFurtherToken) {
  const auto with = engine(with_draft_model({}));
  const auto sink = std::make_shared<DraftSink>();
  std::promise<RequestId> id;
  sink->on_each = [&](int n) {
    if (n == 6) with->cancel(id.get_future().get());
    return true;
  };
  GenerationRequest request;
  request.prompt = prompt(30, 7);
  request.sampling.temperature = 0;
  request.max_new_tokens = 40;
  id.set_value(with->submit(std::move(request), sink));
  sink->wait();
  EXPECT_EQ(sink->answer.reason, FinishReason::cancelled);
  EXPECT_EQ(sink->answer.tokens.size(), 6u);
  EXPECT_GT(sink->answer.stats.accepted_tokens, 0);
  EXPECT_EQ(stats_at_rest(*with).kv_blocks_used, 0);
}

// Beyond the draft model's context there are none.
TEST(DraftModelContext, DraftsEndWhereItEnds) {
  const Checkpoint& model = golden_model(dense_model);
  EditedFolder folder(MOEBOX_TEST_DIR "/golden/" + std::string(dense_model));
  folder.config["max_position_embeddings"] = 64;
  const Checkpoint draft = Checkpoint::open(folder.write());
  const Isa isa = available_isas().back();
  EngineOptions plain;
  plain.context_tokens = 96;
  const auto with = make_engine(model, with_draft_model(plain), isa, 0, &draft);
  const auto expected = answers_of(*make_engine(dense_model, plain, isa), 12), found = answers_of(*with, 12);
  expect_same(found, expected);
  EXPECT_GT(drafted(found), 0);

  const auto sink = std::make_shared<DraftSink>();
  GenerationRequest request;
  request.prompt = Ids(70, 5);
  request.max_new_tokens = 10;
  with->submit(std::move(request), sink);
  sink->wait();
  EXPECT_EQ(sink->answer.tokens.size(), 10u);
  EXPECT_EQ(sink->answer.stats.drafted_tokens, 0);
}

// Vocabularies of one tokenizer may be padded differently: an id that the draft model has not is nothing to it, and one
// that the model has not is never proposed.
TEST(DraftModelVocabulary, MayBePaddedDifferently) {
  const Isa isa = available_isas().back();
  EngineOptions plain;
  plain.context_tokens = 96;
  const std::vector<std::pair<std::string, std::string>> pairs = {{latent_model, dense_model},
                                                                  {dense_model, latent_model}};  // 512 and 272
  for (const auto& [model, draft] : pairs) {
    const auto with = make_engine(golden_model(model), with_draft_model(plain), isa, 0, &golden_model(draft));
    const auto found = answers_of(*with, 12);
    expect_same(found, answers_of(*make_engine(model, plain, isa), 12));
    EXPECT_GT(drafted(found), 0);
  }
}

TEST(DraftModelOptions, AModelAndTheWishForIt) {
  const Checkpoint& checkpoint = golden_model(dense_model);
  const Isa isa = available_isas().back();
  EngineOptions options;
  options.context_tokens = 64;
  EXPECT_THROW(make_engine(checkpoint, with_draft_model(options), isa, 0), Error);
  EXPECT_THROW(make_engine(checkpoint, options, isa, 0, &checkpoint), Error);
  options.speculation = Speculation::ngram;
  EXPECT_THROW(make_engine(checkpoint, options, isa, 0, &checkpoint), Error);
}

// The cache's memory is for both models, and what the steps take is counted for both.
TEST(DraftModelOptions, MemoryIsCounted) {
  const auto model = plan_model(golden_model(dense_model)), draft = plan_model(golden_model(latent_model));
  EngineOptions options = with_draft_model({});
  options.context_tokens = 64;
  options.kv_bytes = 1 << 20;
  options = options.resolved(model->info(), 2, &draft->info());
  const std::size_t block = model->info().kv_block_bytes() + draft->info().kv_block_bytes();
  EXPECT_EQ(options.kv_bytes, (1 << 20) / block * block);
  EXPECT_EQ(EngineOptions::block_bytes(model->info(), &draft->info()), block);
  EXPECT_GT(options.step_bytes(*model, draft.get()), options.step_bytes(*model));

  EngineOptions small;
  small.context_tokens = 64;
  const auto engine = make_engine(golden_model(dense_model), with_draft_model(small), available_isas().back(), 6,
                                  &golden_model(latent_model));
  EXPECT_EQ(engine->stats().kv_blocks_total, 6);
  EXPECT_GE(engine->kv_bytes(), 6 * block);
}

// ---- whether it pays ----

/// A sequence that decodes alone beside a draft model, whose drafts have all the same confidence; `n` steps.
struct Decoding {
  int n_asked = 0, n_drafts_last = 0;
  double ms = 0, without_ms = 0;
};
Decoding decoding(DraftChooser& chooser, int n, bool right, double draft_ms, double token_ms) {
  ModelInfo info;
  info.n_layers = 1;
  info.kv = {KvType::f32, 1, 8};
  BlockPool pool(info, 64);
  Scheduler scheduler(pool, {512, 8});
  GenerationRequest request;
  request.prompt = {1, 2, 3};
  SequenceList list;
  list.emplace_back(std::move(request), nullptr, 2000, 8, Speculation::draft);
  Sequence& sequence = list.front();
  DraftState& state = sequence.drafts;
  std::fill(state.confidence.begin(), state.confidence.end(), 14);
  scheduler.add(std::move(list));
  scheduler.schedule();
  scheduler.computed(sequence, 3);
  Decoding result;
  for (int step = 0; step < n; ++step) {
    sequence.tokens.push_back(5);
    double drafting = 0;
    const int wanted = chooser.wanted(state);
    state.n_proposed = 0;
    if (wanted > 0) {
      ++result.n_asked;
      double chance = 1;
      do {
        state.proposed[static_cast<std::size_t>(state.n_proposed++)] = 5;
        chance *= state.record.chance(14);
      } while (state.n_proposed < wanted && chance >= chooser.least_chance(1));
      drafting = draft_ms * state.n_proposed;
      chooser.drafting_took(state.n_proposed, drafting);
    }
    const auto& spans = scheduler.schedule();
    chooser.add_drafts(scheduler);
    const int n_drafts = spans.at(0).n_drafts;
    chooser.verified(spans[0], right ? 5 : 9, right ? n_drafts : std::min(1, n_drafts), right ? n_drafts : 0);
    const double ms = 10 + token_ms * n_drafts;
    chooser.step_took(ms);
    scheduler.computed(sequence, 1);
    result.ms += ms + drafting;
    result.without_ms += 10 * (1 + (right ? n_drafts : 0));
    result.n_drafts_last = n_drafts;
  }
  return result;
}

TEST(DraftModelChooser, AModelThatPaysIsAskedInEveryStep) {
  DraftChooser chooser({8, 16}, 4, Speculation::draft);
  const Decoding good = decoding(chooser, 200, true, 1, 0.5);
  EXPECT_GE(good.n_asked, 195);
  EXPECT_EQ(good.n_drafts_last, 8);
  EXPECT_GT(good.without_ms, 3 * good.ms);
}

TEST(DraftModelChooser, AModelThatDoesNotPayCostsNextToNothing) {
  for (const bool right : {false, true})
    for (const double draft_ms : {0.5, 1.0, 3.0, 12.0, 40.0}) {
      if (right && draft_ms < 10) continue;
      DraftChooser chooser({8, 16}, 4, Speculation::draft);
      const Decoding bad = decoding(chooser, 1000, right, draft_ms, 1);
      EXPECT_GE(bad.without_ms, 0.97 * bad.ms) << right << ' ' << draft_ms;
      EXPECT_GT(bad.n_asked, 0);
    }
}

// A model that is behind catches up when the answer has been long enough for it to be worth it.
TEST(DraftModelChooser, CatchingUpHasToBeEarned) {
  DraftChooser chooser({8, 16}, 4, Speculation::draft);
  DraftState state(8, 100, Speculation::draft);
  EXPECT_EQ(chooser.wanted(state), 0);  // steps without drafts are measured first
  decoding(chooser, 4, true, 2, 1);
  EXPECT_EQ(chooser.wanted(state, 5000, 0), 1);  // nothing is known of the cost
  chooser.drafting_took(1, 2);
  EXPECT_EQ(chooser.wanted(state, 5000, 0), 8);
  chooser.catching_up_took(100, 10);  // 0.1 ms a token
  EXPECT_EQ(chooser.wanted(state, 5000, 0), 0);
  EXPECT_EQ(chooser.wanted(state, 5000, 1000), 0);
  EXPECT_EQ(chooser.wanted(state, 100, 0), 8);  // a step's time: that much is at stake at the start
  EXPECT_EQ(chooser.wanted(state, 400, 0), 0);
  EXPECT_EQ(chooser.wanted(state, 400, 1000), 8);  // 40 ms are little beside a second
  EXPECT_EQ(chooser.wanted(state, 5000, 100000), 8);
  EXPECT_EQ(chooser.wanted(state, 1, 0), 8);
  EXPECT_GE(chooser.room_to_catch_up(), kv_block_tokens);
}

}  // namespace
}  // namespace moebox
