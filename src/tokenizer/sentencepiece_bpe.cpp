// SentencePiece's BPE, with a heap: linear in the text but for the heap's logarithm.
#include "tokenizer/sentencepiece_bpe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <unordered_map>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/piece_trie.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

struct Symbol {
  std::uint32_t begin = 0, size = 0;  // bytes of the piece; size 0: merged into the one before
  std::uint32_t previous = kNone, next = kNone;
  bool frozen = false;  // a symbol that the model's author defined
};

struct Candidate {
  float score;
  std::uint32_t left, right, size;
  bool operator<(const Candidate& other) const noexcept {
    return score != other.score ? score < other.score : left > other.left;
  }
};

class SentencePieceBpe final : public TokenModel {
 public:
  SentencePieceBpe(const Vocabulary& vocabulary, std::vector<float> scores, std::optional<TokenId> unknown)
      : vocabulary_(vocabulary), scores_(std::move(scores)), unknown_(unknown) {
    byte_tokens_.fill(-1);
    std::vector<std::pair<std::string_view, TokenId>> defined;
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      if (!std::isfinite(scores_[static_cast<std::size_t>(id)])) {
        throw Error(ErrorKind::invalid_file, fmt::format("the score of token {} is not a finite number", id),
                    "tokenizer");
      }
      const TokenKind kind = vocabulary.kind(id);
      if (kind == TokenKind::added) defined.emplace_back(vocabulary.text(id), id);
      if (kind != TokenKind::byte) continue;
      if (const auto byte = fallback_byte(vocabulary.text(id))) byte_tokens_[*byte] = id;
    }
    user_defined_ = PieceTrie(std::move(defined));
    byte_fallback_ = std::all_of(byte_tokens_.begin(), byte_tokens_.end(), [](TokenId id) { return id >= 0; });
    if (!byte_fallback_ && !unknown_)
      throw Error(ErrorKind::invalid_file, "expected an unknown token or all 256 byte tokens", "tokenizer");
  }

  std::unique_ptr<Scratch> make_scratch(std::size_t) const override { return std::make_unique<Work>(); }

  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const override {
    auto& work = static_cast<Work&>(scratch);
    work.text = piece;
    work.after_unknown = false;
    cut(work);
    for (std::uint32_t i = 1; i < work.symbols.size(); ++i) consider(work, i - 1, i);
    merge(work);
    if (work.symbols.empty()) return;
    for (std::uint32_t i = 0; i != kNone; i = work.symbols[i].next) {
      emit(work, piece.substr(work.symbols[i].begin, work.symbols[i].size), ids);
    }
  }

 private:
  struct Work final : Scratch {
    std::string_view text;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
    std::unordered_map<std::string_view, std::uint32_t> unused;  // pieces that may not appear: bytes of their left part
    std::vector<std::string_view> stack;                         // parts of a symbol that wait to be emitted
    bool after_unknown = false;
  };

  /// The id of a piece that text can be made of.
  std::optional<TokenId> find(std::string_view text) const {
    const auto id = vocabulary_.find(text);
    if (!id) return std::nullopt;
    const TokenKind kind = vocabulary_.kind(*id);
    const bool piece = kind == TokenKind::normal || kind == TokenKind::added || kind == TokenKind::unused;
    return piece ? id : std::nullopt;
  }

  void cut(Work& work) const {
    work.symbols.clear();
    work.heap.clear();
    work.unused.clear();
    const std::string_view text = work.text;
    for (std::size_t at = 0; at < text.size();) {
      std::size_t length = 0;
      user_defined_.match(text.substr(at), [&](std::size_t n, TokenId) { length = n; });
      const bool frozen = length > 0;
      if (!frozen) length = static_cast<std::size_t>(utf8::length(text[at]));
      const auto index = static_cast<std::uint32_t>(work.symbols.size());
      work.symbols.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(length),
                              index == 0 ? kNone : index - 1, kNone, frozen});
      if (index > 0) work.symbols[index - 1].next = index;
      at += length;
    }
  }

  void consider(Work& work, std::uint32_t left, std::uint32_t right) const {
    if (left == kNone || right == kNone || work.symbols[left].frozen || work.symbols[right].frozen) return;
    const Symbol& a = work.symbols[left];
    const std::string_view text = work.text.substr(a.begin, a.size + work.symbols[right].size);
    const auto id = text.size() <= limits::kTokenBytes ? find(text) : std::nullopt;
    if (!id) return;
    work.heap.push_back({scores_[static_cast<std::size_t>(*id)], left, right, static_cast<std::uint32_t>(text.size())});
    std::push_heap(work.heap.begin(), work.heap.end());
    if (vocabulary_.kind(*id) == TokenKind::unused) work.unused[text] = a.size;
  }

  void merge(Work& work) const {
    auto& symbols = work.symbols;
    while (!work.heap.empty()) {
      const Candidate best = work.heap.front();
      std::pop_heap(work.heap.begin(), work.heap.end());
      work.heap.pop_back();
      Symbol& left = symbols[best.left];
      Symbol& right = symbols[best.right];
      if (left.size == 0 || right.size == 0 || left.size + right.size != best.size)
        continue;  // one of them has merged since
      left.size = best.size;
      left.next = right.next;
      if (right.next != kNone) symbols[right.next].previous = best.left;
      right.size = 0;
      consider(work, left.previous, best.left);
      consider(work, best.left, left.next);
    }
  }

  /// The ids of a symbol; one that the model may not use falls back into the parts it was made of.
  void emit(Work& work, std::string_view symbol, std::vector<TokenId>& ids) const {
    auto& stack = work.stack;
    stack.assign(1, symbol);
    while (!stack.empty()) {
      const std::string_view text = stack.back();
      stack.pop_back();
      const auto id = find(text);
      if (id && vocabulary_.kind(*id) == TokenKind::unused) {
        if (const auto parts = work.unused.find(text); parts != work.unused.end()) {
          stack.push_back(text.substr(parts->second));
          stack.push_back(text.substr(0, parts->second));
          continue;
        }
      }
      if (id) {
        ids.push_back(*id);
      } else if (byte_fallback_) {
        for (const char c : text) ids.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
      } else if (!work.after_unknown) {  // a run of unknown characters is one unknown token
        ids.push_back(*unknown_);
      }
      work.after_unknown = !id;
    }
  }

  const Vocabulary& vocabulary_;
  std::vector<float> scores_;
  std::optional<TokenId> unknown_;
  std::array<TokenId, 256> byte_tokens_{};
  bool byte_fallback_ = false;
  PieceTrie user_defined_;
};

}  // namespace

std::unique_ptr<TokenModel> make_sentencepiece_bpe(const Vocabulary& vocabulary, std::vector<float> scores,
                                                   std::optional<TokenId> unknown) {
  if (scores.size() != static_cast<std::size_t>(vocabulary.size())) {
    throw Error(ErrorKind::invalid_file,
                fmt::format("expected {} scores, one for each token; found {}", vocabulary.size(), scores.size()),
                "tokenizer");
  }
  return std::make_unique<SentencePieceBpe>(vocabulary, std::move(scores), unknown);
}

}  // namespace moebox
