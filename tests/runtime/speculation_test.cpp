// Drafts change the speed and nothing else: answers with and without them are compared by bits, and so is what sinks,
// processors and the books see of them.
#include <atomic>
#include <bit>
#include <cstring>
#include <functional>
#include <future>
#include <random>

#include <gtest/gtest.h>

#include "idle_time.h"
#include "io/checkpoint.h"
#include "runtime/draft_chooser.h"
#include "runtime/drafted_answers.h"
#include "runtime/engine.h"
#include "spec/edited_model.h"
#include "speed.h"

namespace moebox {
namespace {

using namespace test;

TEST(NgramDrafter, FindsTheLongestMatchAndTheLatestOfEqualOnes) {
  Ids tokens = {1, 2, 3, 50, 9, 2, 3, 60, 1, 2, 3};
  NgramDrafter drafter(100);
  Ids out(3);
  EXPECT_EQ(drafter.propose(tokens, out), 3);
  EXPECT_EQ(out, (Ids{50, 9, 2}));
  tokens.insert(tokens.end(), {70, 8, 2, 3});
  EXPECT_EQ(drafter.propose(tokens, out), 2);
  EXPECT_EQ(out, (Ids{70, 8, 2}));
  tokens.insert(tokens.end(), {99, 98});
  EXPECT_EQ(drafter.propose(tokens, out), 0);
}

TEST(NgramDrafter, GoesOnWhereAPeriodRunsIntoTheEnd) {
  NgramDrafter drafter(100);
  Ids out(7);
  EXPECT_EQ(drafter.propose(Ids{5, 1, 2, 3, 1, 2, 3}, out), 3);
  EXPECT_EQ(out, (Ids{1, 2, 3, 1, 2, 3, 1}));
}

/// Against the plain definition, on texts of few different tokens; they grow by any number at a time.
TEST(NgramDrafter, EqualsASearchThroughEverything) {
  std::mt19937 random(3);
  for (int text = 0; text < 60; ++text) {
    constexpr int size = 100;  // fewer than the candidates that are looked at
    NgramDrafter drafter(size);
    Ids tokens, out(5);
    while (tokens.size() < size) {
      const auto more = std::min<std::size_t>(1 + random() % 4, size - tokens.size());
      for (std::size_t i = 0; i < more; ++i)
        tokens.push_back(static_cast<TokenId>(random() % (2u + static_cast<unsigned>(text) % 7u)));
      int best = 0, place = -1;
      const int n = static_cast<int>(tokens.size());
      for (int end = n - 2; end >= 0; --end) {
        int match = 0;
        while (match < 32 && match <= end && tokens[std::size_t(end - match)] == tokens[std::size_t(n - 1 - match)])
          ++match;
        if (match > best) best = match, place = end;
      }
      if (best < 2) best = 0;
      ASSERT_EQ(drafter.propose(tokens, out), best);
      if (best == 0) continue;
      Ids all = tokens;
      for (int i = 0; i < 5; ++i) all.push_back(all[std::size_t(place + 1 + i)]);
      ASSERT_EQ(out, Ids(all.end() - 5, all.end()));
    }
  }
}

TEST(StepCost, LearnsTheLineAndForgivesAnOutlier) {
  StepCost cost;
  for (int i = 0; i < 200; ++i) {
    cost.observe(1, 10);
    cost.observe(2 + i % 10, 12 + (2 + i % 10) * 0.5);
  }
  EXPECT_NEAR(cost.ms(1), 10, 0.01);
  for (const int n : {2, 6, 11}) EXPECT_NEAR(cost.ms(n), 12 + n * 0.5, 0.05 * (12 + n * 0.5)) << n;
  cost.observe(1, 1000);
  cost.observe(4, 1000);
  EXPECT_LT(cost.ms(1), 12);
  EXPECT_LT(cost.ms(4), 16);
  for (int i = 0; i < 200; ++i) cost.observe(4, 40);  // the machine has become slow for good
  EXPECT_GT(cost.ms(4), 30);
}

/// A sequence that says the same over and over, decoding alone; `n` steps of the given costs.
int drafts_after(DraftChooser& chooser, int n, bool right, const std::function<double(int)>& ms) {
  ModelInfo info;
  info.n_layers = 1;
  info.kv = {KvType::f32, 1, 8};
  BlockPool pool(info, 64);
  Scheduler scheduler(pool, {512, 8});
  GenerationRequest request;
  for (int i = 0; i < 60; ++i) request.prompt.push_back(i % 6);
  SequenceList list;
  list.emplace_back(std::move(request), nullptr, 2000, 8);
  Sequence& sequence = list.front();
  scheduler.add(std::move(list));
  scheduler.schedule();
  scheduler.computed(sequence, 60);
  int n_drafts = 0;
  for (int step = 0; step < n; ++step) {
    sequence.tokens.push_back(static_cast<TokenId>(sequence.tokens.size() % 6));
    const auto& spans = scheduler.schedule();
    chooser.add_drafts(scheduler);
    n_drafts = spans.at(0).n_drafts;
    chooser.verified(spans[0], right ? sequence.drafts.proposed[0] : 99, right ? n_drafts : std::min(1, n_drafts),
                     right ? n_drafts : 0);
    chooser.step_took(ms(1 + n_drafts));
    scheduler.computed(sequence, 1);
  }
  return n_drafts;
}

TEST(DraftChooser, DraftsWhenItPaysAndNotOtherwise) {
  const auto cheap = [](int n) { return 10 + 0.5 * n; };
  const auto dear = [](int n) { return 10.0 * n; };
  const DraftChooser::Limits limits{8, 16};
  DraftChooser a(limits, 4), b(limits, 4), c(limits, 4), d({8, 16, true}, 4), e({8, 4}, 4), f({8, 1}, 4);
  EXPECT_EQ(drafts_after(a, 100, true, cheap), 8);
  EXPECT_EQ(drafts_after(b, 100, true, dear), 0);
  EXPECT_EQ(drafts_after(c, 100, false, cheap), 0);
  EXPECT_EQ(drafts_after(d, 100, false, dear), 8);
  EXPECT_EQ(drafts_after(e, 100, true, cheap), 3);
  EXPECT_EQ(drafts_after(f, 100, true, cheap), 0);
}

// ---- answers ----

EngineOptions with_drafts(EngineOptions options) {
  options.speculation = Speculation::ngram;
  options.always_draft = true;
  return options;
}

class SpeculationOf : public testing::TestWithParam<std::tuple<const char*, Isa>> {};

INSTANTIATE_TEST_SUITE_P(Models, SpeculationOf,
                         testing::Combine(testing::Values("transformers/models/llama_gqa", "deepseek/models/tiny-v3",
                                                          "moe/models/qwen2moe", "moe/models/deepseek_v2_attention"),
                                          testing::ValuesIn(available_isas().begin(), available_isas().end())),
                         [](const auto& info) {
                           std::string label = std::get<0>(info.param);
                           label = label.substr(label.rfind('/') + 1) + "_" +
                                   std::string(moebox::name(std::get<1>(info.param)));
                           std::replace_if(label.begin(), label.end(), [](char c) { return !std::isalnum(c); }, '_');
                           return label;
                         });

TEST_P(SpeculationOf, ChangesNoBitOfAnyAnswer) {
  const auto& [model, isa] = GetParam();
  const int n_requests = test::slow_machine ? 12 : 24;
  EngineOptions plain;
  plain.context_tokens = 96;
  const auto without = make_engine(model, plain, isa);
  const std::vector<DraftedAnswer> expected = answers_of(*without, n_requests);
  EXPECT_EQ(accepted(expected), 0);

  // All at once: many rows.
  const auto together = make_engine(model, with_drafts(plain), isa);
  std::vector<DraftedAnswer> answers = answers_of(*together, n_requests);
  expect_same(answers, expected);
  EXPECT_GT(accepted(answers), 0);
  const EngineStats stats = stats_at_rest(*together), plain_stats = stats_at_rest(*without);
  EXPECT_EQ(stats.accepted_tokens, static_cast<std::uint64_t>(accepted(answers)));
  EXPECT_GT(stats.draft_tokens, stats.accepted_tokens);
  EXPECT_GT(stats.drafts, 0u);
  EXPECT_EQ(stats.generated_tokens, plain_stats.generated_tokens);
  EXPECT_EQ(stats.prompt_tokens, plain_stats.prompt_tokens);
  for (std::size_t layer = 0; layer < plain_stats.expert_load.size(); ++layer) {
    EXPECT_EQ(stats.expert_load[layer].n_chosen, plain_stats.expert_load[layer].n_chosen);
    EXPECT_EQ(stats.expert_load[layer].entropy, plain_stats.expert_load[layer].entropy);
  }

  // Few at a time, their prompts in pieces; and by chance, as the measured times have it.
  EngineOptions few = with_drafts(plain);
  few.max_sequences = 3;
  few.max_batch_tokens = 14;
  answers = answers_of(*make_engine(model, few, isa), n_requests);
  expect_same(answers, expected);
  EXPECT_GT(accepted(answers), 0);
  few.always_draft = false;
  expect_same(answers_of(*make_engine(model, few, isa), n_requests), expected);

  // With memory for three of them: they are preempted and computed again.
  answers = answers_of(*make_engine(model, with_drafts(plain), isa, 7), n_requests);
  expect_same(answers, expected);
  EXPECT_GT(accepted(answers), 0);
  int preemptions = 0;
  for (const DraftedAnswer& answer : answers) preemptions += answer.stats.preemptions;
  EXPECT_GT(preemptions, 0);
}

class ScriptedDrafts : public testing::TestWithParam<const char*> {
 protected:
  /// The prompt says the motif twice, and the answer has to say it again: drafts are right from its second token on.
  DraftedAnswer run(EngineOptions options, const std::function<void(GenerationRequest&, DraftSink&, Engine&)>& change) {
    options.context_tokens = 96;
    const auto engine = make_engine(GetParam(), options, available_isas().back());
    const auto sink = std::make_shared<DraftSink>();
    GenerationRequest request;
    for (int i = 0; i < 16; ++i) request.prompt.push_back(motif[static_cast<std::size_t>(i) % motif.size()]);
    request.sampling.temperature = 0;
    request.max_new_tokens = 20;
    request.processors = {std::make_shared<Witness>(sink->answer, motif)};
    change(request, *sink, *engine);
    id = std::promise<RequestId>();
    id.set_value(engine->submit(std::move(request), sink));
    sink->wait();
    EXPECT_EQ(stats_at_rest(*engine).kv_blocks_used, 0);
    return sink->answer;
  }
  /// With and without: the same answer, which is the motif's first n tokens; every call of accept() has its token.
  void expect_both(std::size_t n, FinishReason reason, std::size_t n_accepted,
                   const std::function<void(GenerationRequest&, DraftSink&, Engine&)>& change) {
    const DraftedAnswer expected = run({}, change), answer = run(with_drafts({}), change);
    expect_same({answer}, {expected});
    EXPECT_EQ(answer.reason, reason);
    Ids tokens;
    while (tokens.size() < std::max(n, n_accepted)) tokens.push_back(motif[tokens.size() % motif.size()]);
    EXPECT_EQ(answer.accepted, Ids(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n_accepted)));
    tokens.resize(n);
    EXPECT_EQ(answer.tokens, tokens);
    EXPECT_GT(answer.stats.accepted_tokens, 0);
  }

  const Ids motif = {11, 12, 13, 14, 15, 16, 17, 18};
  std::promise<RequestId> id;
};

INSTANTIATE_TEST_SUITE_P(Models, ScriptedDrafts,
                         testing::Values("transformers/models/llama_gqa", "deepseek/models/tiny-v3"),
                         [](const auto& info) {
                           return std::string(std::string_view(info.param).find("llama") != std::string_view::npos
                                                  ? "dense"
                                                  : "latent");
                         });

TEST_P(ScriptedDrafts, AStopTokenEndsTheAnswerInsideARun) {
  expect_both(5, FinishReason::stop, 6,
              [](GenerationRequest& request, DraftSink&, Engine&) { request.stop_tokens = {16}; });
}

TEST_P(ScriptedDrafts, TheLongestAnswerEndsInsideARun) {
  for (const int n : {3, 4, 19})
    expect_both(static_cast<std::size_t>(n), FinishReason::length, static_cast<std::size_t>(n),
                [&](GenerationRequest& request, DraftSink&, Engine&) { request.max_new_tokens = n; });
}

TEST_P(ScriptedDrafts, TheSinkEndsTheAnswerInsideARun) {
  expect_both(6, FinishReason::stop, 6,
              [](GenerationRequest&, DraftSink& sink, Engine&) { sink.on_each = [](int n) { return n < 6; }; });
}

TEST_P(ScriptedDrafts, ASinkThatThrowsEndsTheAnswerInsideARun) {
  expect_both(6, FinishReason::error, 6, [](GenerationRequest&, DraftSink& sink, Engine&) {
    sink.on_each = [](int n) -> bool { return n < 6 ? true : throw std::runtime_error("full"); };
  });
}

TEST_P(ScriptedDrafts, ACancelledSequenceGetsNoFurtherToken) {
  expect_both(6, FinishReason::cancelled, 6, [this](GenerationRequest&, DraftSink& sink, Engine& engine) {
    sink.on_each = [this, &engine](int n) {
      if (n == 6) engine.cancel(id.get_future().get());
      return true;
    };
  });
}

TEST_P(ScriptedDrafts, RunsAreLongAndStepsFew) {
  EngineOptions options = with_drafts({});
  options.draft_tokens = 4;
  const DraftedAnswer answer = run(options, [](GenerationRequest&, DraftSink&, Engine&) {});
  EXPECT_EQ(answer.tokens.size(), 20u);
  EXPECT_GE(answer.stats.accepted_tokens, 14);
  EXPECT_LE(answer.stats.drafted_tokens, 18);
}

// What the cache keeps of an answer that came in runs is what it keeps of one that came token by token.
TEST_P(ScriptedDrafts, TheCacheHoldsTheSameAfterwards) {
  std::vector<DraftedAnswer> expected;
  for (const bool drafts : {false, true}) {
    EngineOptions options;
    options.context_tokens = 256;
    if (drafts) options = with_drafts(options);
    const auto engine = make_engine(GetParam(), options, available_isas().back());
    std::vector<DraftedAnswer> answers;
    Ids prompt;
    for (int i = 0; i < 40; ++i) prompt.push_back(motif[static_cast<std::size_t>(i) % motif.size()]);
    for (int turn = 0; turn < 3; ++turn) {
      const auto sink = std::make_shared<DraftSink>();
      GenerationRequest request;
      request.prompt = prompt;
      request.sampling.temperature = 0;
      request.max_new_tokens = 30;
      request.processors = {std::make_shared<Witness>(sink->answer)};
      engine->submit(std::move(request), sink);
      sink->wait();
      answers.push_back(sink->answer);
      prompt.insert(prompt.end(), sink->answer.tokens.begin(), sink->answer.tokens.end());
      const std::uint64_t n_again = engine->model().roles_matter ? test::idle_tokens_of(40, prompt.size() - 40) : 0;
      ASSERT_TRUE(test::idle_time_was_used(*engine, n_again));
    }
    if (!drafts) {
      expected = answers;
      continue;
    }
    expect_same(answers, expected);
    EXPECT_GT(accepted(answers), 0);
    for (std::size_t turn = 0; turn < 3; ++turn)
      EXPECT_EQ(answers[turn].stats.cached_tokens, expected[turn].stats.cached_tokens);
    EXPECT_GT(answers[2].stats.cached_tokens, 0);
  }
}

// ---- drafts by a layer for multi-token prediction ----

/// A model that says much the same after a token whatever came before, and whose layer says that, too: so drafts are
/// right now and then, though the weights are random.
const Checkpoint& agreeing_model() {
  static test::EditedFolder folder(MOEBOX_TEST_DIR "/golden/deepseek/models/tiny-v3-mtp");
  static const Checkpoint checkpoint = [] {
    const auto each = [](std::string& data, auto&& change) {
      for (std::size_t i = 0; i < data.size(); i += 2) {
        std::uint32_t bits = 0;
        std::memcpy(reinterpret_cast<char*>(&bits) + 2, data.data() + i, 2);
        const float value = change(i / 2, std::bit_cast<float>(bits));
        bits = std::bit_cast<std::uint32_t>(value);
        std::memcpy(data.data() + i, reinterpret_cast<const char*>(&bits) + 2, 2);
      }
    };
    for (auto& [name, tensor] : folder.tensors)
      if (name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight"))
        each(tensor.data, [](std::size_t, float value) { return value / 128; });
    const std::string prefix = "model.layers.3.";
    auto& tensors = folder.tensors;
    tensors.at(prefix + "embed_tokens.weight") = tensors.at("model.embed_tokens.weight");
    tensors.at(prefix + "shared_head.head.weight") = tensors.at("lm_head.weight");
    tensors.at(prefix + "shared_head.norm.weight") = tensors.at("model.norm.weight");
    each(tensors.at(prefix + "enorm.weight").data, [](std::size_t, float) { return 1.0f; });
    constexpr std::size_t hidden = 64;  // the token's row, and a little of the other
    each(tensors.at(prefix + "eh_proj.weight").data, [](std::size_t i, float value) {
      return i / (2 * hidden) == i % (2 * hidden) ? 1.0f : i % (2 * hidden) < hidden ? 0.0f : value / 16;
    });
    return Checkpoint::open(folder.write());
  }();
  return checkpoint;
}

EngineOptions with_layer(EngineOptions options) {
  options.speculation = Speculation::mtp;
  options.always_draft = true;
  return options;
}

class MtpSpeculation : public testing::TestWithParam<Isa> {};

INSTANTIATE_TEST_SUITE_P(Isas, MtpSpeculation, testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         [](const auto& info) { return std::string(moebox::name(info.param)); });

TEST_P(MtpSpeculation, ChangesNoBitOfAnyAnswer) {
  const int n_requests = test::slow_machine ? 12 : 24;
  const auto engine = [](EngineOptions options, std::size_t n_blocks = 0) {
    return make_engine(agreeing_model(), options, GetParam(), n_blocks);
  };
  EngineOptions plain;
  plain.context_tokens = 96;
  const std::vector<DraftedAnswer> expected = answers_of(*engine(plain), n_requests);

  for (const int n_drafts : {1, 10}) {
    EngineOptions options = with_layer(plain);
    options.draft_tokens = n_drafts;
    const auto together = engine(options);
    const std::vector<DraftedAnswer> answers = answers_of(*together, n_requests);
    expect_same(answers, expected);
    EXPECT_GT(accepted(answers), 0);
    const EngineStats stats = stats_at_rest(*together);
    EXPECT_EQ(stats.accepted_tokens, static_cast<std::uint64_t>(accepted(answers)));
    EXPECT_GT(stats.draft_tokens, stats.accepted_tokens);
    EXPECT_LE(stats.draft_tokens, stats.drafts * static_cast<std::uint64_t>(std::min(n_drafts, max_mtp_draft_tokens)));
    std::printf("drafts of %d: %d of %d right\n", n_drafts, static_cast<int>(stats.accepted_tokens),
                static_cast<int>(stats.draft_tokens));
  }

  EngineOptions few = with_layer(plain);
  few.max_sequences = 3;
  few.max_batch_tokens = 14;
  std::vector<DraftedAnswer> answers = answers_of(*engine(few), n_requests);
  expect_same(answers, expected);
  EXPECT_GT(accepted(answers), 0);
  few.always_draft = false;
  expect_same(answers_of(*engine(few), n_requests), expected);

  answers = answers_of(*engine(with_layer(plain), 7), n_requests);
  expect_same(answers, expected);
  int preemptions = 0;
  for (const DraftedAnswer& answer : answers) preemptions += answer.stats.preemptions;
  EXPECT_GT(preemptions, 0);
  EXPECT_GT(accepted(answers), 0);
}

// The layer's part of the cache is shared with the rest of it, and what is drafted afterwards is the same.
TEST_P(MtpSpeculation, FoundPrefixesDraftLikeComputedOnes) {
  EngineOptions plain;
  plain.context_tokens = 512;
  const auto engine = [](const EngineOptions& options) {
    return make_engine(agreeing_model(), options, GetParam(), 0);
  };
  const std::vector<DraftedAnswer> computed = turns(*engine(with_layer(plain)), 4, false);
  EXPECT_GT(accepted(computed), 0);
  const auto without = engine(plain), with = engine(with_layer(plain));
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const std::vector<DraftedAnswer> expected = turns(*without, 4, true), found = turns(*with, 4, true);
    expect_same(found, expected);
    for (std::size_t turn = 0; turn < 4; ++turn) {
      EXPECT_EQ(found[turn].stats.cached_tokens, expected[turn].stats.cached_tokens);
      EXPECT_EQ(found[turn].stats.drafted_tokens, computed[turn].stats.drafted_tokens);
      EXPECT_EQ(found[turn].stats.accepted_tokens, computed[turn].stats.accepted_tokens);
      EXPECT_GT(found[turn].stats.cached_tokens, round + static_cast<int>(turn) == 0 ? -1 : 0);
    }
  }
}

TEST(MtpSpeculationOptions, NeedTheLayer) {
  const Isa isa = available_isas().back();
  auto team = std::make_unique<ThreadTeam>(1);
  auto model = load_model(agreeing_model(), *team, {.kernels = &kernel_table(isa)});
  EXPECT_THROW(Engine(std::move(model), std::move(team), with_layer({})), Error);
  EXPECT_THROW(make_engine("transformers/models/llama_gqa", with_layer({}), isa), Error);
}

/// A sequence that decodes alone, with drafts that a layer makes: whether it was asked for any in the last of `n`
/// steps.
int drafts_of_layer(bool right, int n, double drafting_ms, int& n_asked) {
  ModelInfo info;
  info.n_layers = 1;
  info.kv = {KvType::f32, 1, 8};
  BlockPool pool(info, 64);
  Scheduler scheduler(pool, {512, 8});
  DraftChooser chooser({4, 16}, 4, Speculation::mtp);
  GenerationRequest request;
  request.prompt = {1, 2, 3};
  SequenceList list;
  list.emplace_back(std::move(request), nullptr, 2000, 4, Speculation::mtp);
  Sequence& sequence = list.front();
  scheduler.add(std::move(list));
  scheduler.schedule();
  scheduler.computed(sequence, 3);
  int n_drafts = 0;
  for (int step = 0; step < n; ++step) {
    sequence.tokens.push_back(5);
    const int wanted = chooser.wanted(sequence.drafts);
    n_asked += wanted > 0 ? 1 : 0;
    if (wanted > 0) chooser.drafting_took(wanted, drafting_ms * wanted);
    for (sequence.drafts.n_proposed = 0; sequence.drafts.n_proposed < wanted;)
      sequence.drafts.proposed[static_cast<std::size_t>(sequence.drafts.n_proposed++)] = 5;
    const auto& spans = scheduler.schedule();
    chooser.add_drafts(scheduler);
    n_drafts = spans.at(0).n_drafts;
    chooser.verified(spans[0], right ? 5 : 9, right ? n_drafts : std::min(1, n_drafts), right ? n_drafts : 0);
    chooser.step_took(10 + 0.5 * (1 + n_drafts));
    scheduler.computed(sequence, 1);
  }
  return n_drafts;
}

TEST(DraftChooser, AsksALayerAsLongAsItPays) {
  int asked = 0;
  EXPECT_GE(drafts_of_layer(true, 200, 0.5, asked), 2);
  EXPECT_GE(asked, 196);  // but while steps without drafts are measured
  asked = 0;
  EXPECT_EQ(drafts_of_layer(true, 200, 20, asked), 0);  // right, and too dear
  EXPECT_LT(asked, 40);
  asked = 0;
  EXPECT_EQ(drafts_of_layer(false, 400, 0.5, asked), 0);
  EXPECT_LT(asked, 80);
  EXPECT_GT(asked, 10);  // it may become better
}

TEST(Speculation, OptionsAreChecked) {
  for (const int n : {0, -1, max_draft_tokens + 1}) {
    EngineOptions options = with_drafts({});
    options.context_tokens = 64;
    options.draft_tokens = n;
    EXPECT_THROW(make_engine("transformers/models/llama_gqa", options, available_isas().back()), Error);
  }
}

}  // namespace
}  // namespace moebox
