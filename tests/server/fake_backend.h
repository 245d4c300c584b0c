// A model for tests of the server: every byte is a token, and the answer is known. It can be slow, endless, full or
// broken.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "server/backend.h"

namespace moebox::test {

/// Bytes are tokens 0 .. 255; 256 begins, 257 ends, 258 .. 260 fill in the middle.
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int i = 0; i < 256; ++i) bytes_[static_cast<std::size_t>(i)] = static_cast<char>(i);
    special_.bos = 256;
    special_.eos = 257;
    special_.end_of_generation = {257};
    special_.fim_prefix = 258;
    special_.fim_suffix = 259;
    special_.fim_middle = 260;
  }
  int vocab_size() const noexcept override { return 261; }
  std::string_view token_text(TokenId id) const noexcept override { return token_bytes(id, true); }
  TokenKind token_kind(TokenId id) const noexcept override { return id < 256 ? TokenKind::normal : TokenKind::control; }
  std::optional<TokenId> find(std::string_view text) const noexcept override {
    if (text == "<s>") return 256;
    if (text == "</s>") return 257;
    return std::nullopt;
  }
  std::vector<TokenId> encode(std::span<const TextSpan> spans, bool add_special) const override {
    std::vector<TokenId> ids;
    if (add_special) ids.push_back(256);
    for (const TextSpan& span : spans) {
      for (const char c : span.text) ids.push_back(static_cast<unsigned char>(c));
    }
    return ids;
  }
  using Tokenizer::encode;
  std::string_view token_bytes(TokenId id, bool show_control) const noexcept override {
    if (id < 0 || id > 260) return {};
    if (id < 256) return std::string_view(&bytes_[static_cast<std::size_t>(id)], 1);
    constexpr std::string_view names[] = {"<s>", "</s>", "<pre>", "<suf>", "<mid>"};
    return show_control ? names[id - 256] : std::string_view();
  }
  bool drops_leading_space() const noexcept override { return false; }
  std::string decode(std::span<const TokenId> ids, bool show_control) const override {
    std::string text;
    for (const TokenId id : ids) text += token_bytes(id, show_control);
    return text;
  }
  const Special& special() const noexcept override { return special_; }

 private:
  char bytes_[256];
  Special special_;
};

struct FakeBehaviour {
  std::string reply = "Hello, world";       // and then the end; repeated for ever with ignore_end
  std::chrono::microseconds step{200};      // between tokens
  std::chrono::milliseconds first_step{0};  // before the first one
  int most_running = 1000;                  // more are an Error(resource)
  bool fails = false;                       // every sequence ends with an error
  bool loses_ends = false;                  // ends are not told, as when there is no memory for them
  int context_tokens = 4096;
  bool prints_null = true;  // false: its template fails on a message without content
  Reasoning reasoning = Reasoning::none;
  RoutingBudget budget;  // for requests that bring none
  bool fills_in = true;  // false: it has no tokens to fill in the middle
};

/// One thread plays the engine.
class FakeBackend final : public Backend {
 public:
  explicit FakeBackend(FakeBehaviour behaviour = {}) : behaviour_(std::move(behaviour)), thread_([this] { loop(); }) {}
  ~FakeBackend() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  const Tokenizer& tokenizer() const override { return tokenizer_; }
  int vocab_size() const override { return tokenizer_.vocab_size(); }
  int context_tokens() const override { return behaviour_.context_tokens; }
  std::vector<TokenId> encode_chat(const std::vector<ChatMessage>& messages,
                                   const ChatTemplateOptions&) const override {
    std::vector<TokenId> ids{256};
    for (const ChatMessage& message : messages) {
      if (message.extra.is_object() && message.extra.contains("content") && !behaviour_.prints_null)
        throw Error(ErrorKind::invalid_argument, "tried to add a string and none", "chat template, line 1");
      const auto more = tokenizer_.encode(message.role + ": " + message.content + "\n");
      ids.insert(ids.end(), more.begin(), more.end());
    }
    return ids;
  }
  std::vector<TokenId> encode_infill(std::string_view prefix, std::string_view suffix) const override {
    if (!behaviour_.fills_in) throw Error(ErrorKind::unsupported, "the model has no such tokens", "suffix");
    std::vector<TokenId> ids{258};
    for (const char c : prefix) ids.push_back(static_cast<unsigned char>(c));
    ids.push_back(259);
    for (const char c : suffix) ids.push_back(static_cast<unsigned char>(c));
    ids.push_back(260);
    return ids;
  }

  RoutingBudget budget() const override { return behaviour_.budget; }
  Reasoning reasoning(std::span<const TokenId>) const override { return behaviour_.reasoning; }

  RequestId generate(TextRequest request, std::shared_ptr<TextListener> listener) override {
    const std::lock_guard lock(mutex_);
    if (static_cast<int>(running_.size()) >= behaviour_.most_running)
      throw Error(ErrorKind::resource, "the queue is full");
    Sequence sequence;
    sequence.stats.prompt_tokens = static_cast<int>(request.generation.prompt.size());
    last_budget_ = request.generation.budget;
    sequence.request = std::move(request);
    sequence.listener = std::move(listener);
    sequence.due = std::chrono::steady_clock::now() + behaviour_.first_step;
    running_.emplace(++last_id_, std::move(sequence));
    changed_.notify_all();
    return last_id_;
  }
  void cancel(RequestId id) noexcept override {
    const std::lock_guard lock(mutex_);
    if (const auto found = running_.find(id); found != running_.end()) found->second.cancelled = true;
    changed_.notify_all();
  }
  /// Of the request that came last.
  RoutingBudget last_budget() const {
    const std::lock_guard lock(mutex_);
    return last_budget_;
  }
  EngineStats stats() const noexcept override {
    const std::lock_guard lock(mutex_);
    EngineStats stats;
    stats.running = static_cast<int>(running_.size());
    stats.kv_blocks_total = 100;
    stats.kv_blocks_used = stats.running;
    stats.cancelled = n_cancelled_;
    return stats;
  }

 private:
  struct Sequence {
    TextRequest request;
    std::shared_ptr<TextListener> listener;
    GenerationStats stats;
    std::string text;
    bool cancelled = false;
    std::chrono::steady_clock::time_point due;
  };
  struct News {
    std::shared_ptr<TextListener> listener;
    std::optional<TextPiece> piece;
    std::optional<TextFinish> finish;
  };

  /// One token of one sequence. True: it is over.
  bool step(Sequence& sequence, std::vector<News>& news) {
    const auto finish = [&](FinishReason reason, std::string stop = {}) {
      TextFinish end;
      end.reason = reason;
      end.matched_stop = std::move(stop);
      end.stats = sequence.stats;
      if (reason == FinishReason::error)
        end.error.emplace(ErrorKind::internal, "secret detail at 0xdeadbeef", "/a/secret/path");
      news.push_back({sequence.listener, std::nullopt, std::move(end)});
      return true;
    };
    if (sequence.cancelled) return finish(FinishReason::cancelled);
    if (behaviour_.fails) return finish(FinishReason::error);
    const auto n = static_cast<std::size_t>(sequence.stats.generated_tokens);
    if (n >= behaviour_.reply.size() && !sequence.request.ignore_end) return finish(FinishReason::stop);
    const char c = behaviour_.reply[n % behaviour_.reply.size()];
    TextPiece piece;
    piece.text = std::string(1, c);
    piece.token.id = static_cast<unsigned char>(c);
    piece.token.logprob = -0.5f;
    for (int i = 0; i < sequence.request.generation.sampling.n_logprobs; ++i)
      piece.token.top.push_back({65 + i, -1.0f - static_cast<float>(i)});
    sequence.text += c;
    ++sequence.stats.generated_tokens;
    for (const std::string& stop : sequence.request.stop_strings) {
      if (!sequence.text.ends_with(stop)) continue;
      piece.text.clear();
      news.push_back({sequence.listener, std::move(piece), std::nullopt});
      return finish(FinishReason::stop, stop);
    }
    news.push_back({sequence.listener, std::move(piece), std::nullopt});
    if (sequence.stats.generated_tokens >= sequence.request.generation.max_new_tokens)
      return finish(FinishReason::length);
    return false;
  }

  void loop() {
    std::unique_lock lock(mutex_);
    while (true) {
      std::vector<News> news;
      const auto now = std::chrono::steady_clock::now();
      for (auto it = running_.begin(); it != running_.end();) {
        Sequence& sequence = it->second;
        sequence.cancelled |= stopping_;
        if (!sequence.cancelled && sequence.due > now) {
          ++it;
          continue;
        }
        sequence.due = now + behaviour_.step;
        const bool cancelled = sequence.cancelled;
        const bool over = step(sequence, news);
        n_cancelled_ += cancelled ? 1 : 0;
        it = over ? running_.erase(it) : std::next(it);
      }
      lock.unlock();
      for (News& item : news) {
        if (item.piece)
          item.listener->on_piece(*item.piece);
        else if (!behaviour_.loses_ends)
          item.listener->on_finish(*item.finish);
      }
      news.clear();
      lock.lock();
      if (stopping_ && running_.empty()) return;
      if (running_.empty())
        changed_.wait(lock);
      else
        changed_.wait_for(lock, behaviour_.step);
    }
  }

  const FakeBehaviour behaviour_;
  const ByteTokenizer tokenizer_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RequestId, Sequence> running_;
  RequestId last_id_ = 0;
  RoutingBudget last_budget_;
  std::uint64_t n_cancelled_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace moebox::test
