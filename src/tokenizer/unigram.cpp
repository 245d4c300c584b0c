// Viterbi search over the pieces of a trie.
#include "tokenizer/unigram.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/piece_trie.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

constexpr double kUnknownPenalty = 10.0;
// SentencePiece (0.2.3) moves its sums back to zero beyond this, so that they keep their digits in long texts.
constexpr float kMaxSum = 100000;

/// The best way to reach a place of the text.
template <class Sum>
struct Node {
  Sum sum = 0;
  std::uint32_t begin = kUnreached;  // where its last piece begins
  TokenId id = -1;                   // its last piece; -1 for an unknown character
  static constexpr std::uint32_t kUnreached = ~std::uint32_t{0};
};

template <class Sum>
class Unigram final : public TokenModel {
 public:
  Unigram(const Vocabulary& vocabulary, const std::vector<double>& scores, const UnigramOptions& options)
      : options_(options) {
    std::vector<std::pair<std::string_view, TokenId>> pieces;
    const std::size_t count = std::min(options.pieces, static_cast<std::size_t>(vocabulary.size()));
    double lowest = 0, highest = 0;
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
      const auto id = static_cast<TokenId>(i);
      const double score = static_cast<Sum>(scores[i]);
      if (!std::isfinite(score))
        throw Error(ErrorKind::invalid_file, fmt::format("the score of token {} is not a finite number", i),
                    "tokenizer");
      scores_.push_back(score);
      const TokenKind kind = vocabulary.kind(id);
      // SentencePiece takes the extremes of the normal pieces, Hugging Face of all.
      if (!options.single_precision || kind == TokenKind::normal) {
        lowest = any ? std::min(lowest, score) : score;
        highest = any ? std::max(highest, score) : score;
        any = true;
      }
      const bool piece = kind == TokenKind::normal || kind == TokenKind::added ||
                         (kind == TokenKind::byte && !options.single_precision);
      if (piece && !vocabulary.text(id).empty()) pieces.emplace_back(vocabulary.text(id), id);
    }
    unknown_score_ = static_cast<Sum>(static_cast<Sum>(lowest) - static_cast<Sum>(kUnknownPenalty));
    if (options.single_precision) {  // a symbol that the model's author defined always wins
      for (std::size_t i = 0; i < count; ++i) {
        if (vocabulary.kind(static_cast<TokenId>(i)) != TokenKind::added) continue;
        scores_[i] =
            static_cast<Sum>(vocabulary.text(static_cast<TokenId>(i)).size()) * static_cast<Sum>(highest) - 0.1;
      }
    }
    find_byte_tokens(vocabulary);
    trie_ = PieceTrie(std::move(pieces));
  }

  std::unique_ptr<Scratch> make_scratch(std::size_t) const override { return std::make_unique<Work>(); }

  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const override {
    auto& nodes = static_cast<Work&>(scratch).nodes;
    search(piece, nodes);
    auto& path = static_cast<Work&>(scratch).path;
    path.clear();
    for (std::size_t end = piece.size(); end > 0; end = nodes[end].begin) path.push_back(end);
    bool after_unknown = false;
    for (auto end = path.rbegin(); end != path.rend(); ++end) {
      const Node<Sum>& node = nodes[*end];
      if (node.id >= 0) {
        ids.push_back(node.id);
      } else if (options_.byte_fallback) {
        for (const char c : piece.substr(node.begin, *end - node.begin))
          ids.push_back(byte_tokens_[static_cast<unsigned char>(c)]);
      } else if (!after_unknown) {  // a run of unknown characters is one unknown token
        ids.push_back(*options_.unknown);
      }
      after_unknown = node.id < 0;
    }
  }

 private:
  struct Work final : Scratch {
    std::vector<Node<Sum>> nodes;
    std::vector<std::size_t> path;
  };

  void search(std::string_view text, std::vector<Node<Sum>>& nodes) const {
    nodes.assign(text.size() + 1, {});
    std::size_t furthest = 0;  // place that is reached
    const auto reach = [&](std::size_t begin, std::size_t end, TokenId id, double score) {
      furthest = std::max(furthest, end);
      const Sum sum = static_cast<Sum>(score) + nodes[begin].sum;
      Node<Sum>& node = nodes[end];
      if (node.begin == Node<Sum>::kUnreached || sum > node.sum) node = {sum, static_cast<std::uint32_t>(begin), id};
    };
    for (std::size_t begin = 0; begin < text.size();) {
      const auto character = static_cast<std::size_t>(utf8::length(text[begin]));
      if (options_.single_precision && std::abs(nodes[begin].sum) > static_cast<Sum>(kMaxSum)) {
        const Sum offset = nodes[begin].sum;
        for (std::size_t i = begin; i <= furthest; ++i) nodes[i].sum -= offset;
      }
      bool single = false;
      trie_.match(text.substr(begin), [&](std::size_t length, TokenId id) {
        reach(begin, begin + length, id, scores_[static_cast<std::size_t>(id)]);
        single |= length == character;
      });
      if (!single) reach(begin, begin + character, -1, unknown_score_);
      begin += character;
    }
  }

  void find_byte_tokens(const Vocabulary& vocabulary) {
    byte_tokens_.fill(-1);
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      if (vocabulary.kind(id) != TokenKind::byte) continue;
      if (const auto byte = fallback_byte(vocabulary.text(id))) byte_tokens_[*byte] = id;
    }
    const bool all = std::all_of(byte_tokens_.begin(), byte_tokens_.end(), [](TokenId id) { return id >= 0; });
    options_.byte_fallback &= all;
    if (!options_.byte_fallback && !options_.unknown) {
      throw Error(ErrorKind::invalid_file, "expected an unknown token or all 256 byte tokens", "tokenizer");
    }
  }

  UnigramOptions options_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  std::array<TokenId, 256> byte_tokens_{};
  PieceTrie trie_;
};

}  // namespace

std::unique_ptr<TokenModel> make_unigram_model(const Vocabulary& vocabulary, const std::vector<double>& scores,
                                               const UnigramOptions& options) {
  if (scores.size() != static_cast<std::size_t>(vocabulary.size())) {
    throw Error(ErrorKind::invalid_file,
                fmt::format("expected {} scores, one for each token; found {}", vocabulary.size(), scores.size()),
                "tokenizer");
  }
  if (options.single_precision) return std::make_unique<Unigram<float>>(vocabulary, scores, options);
  return std::make_unique<Unigram<double>>(vocabulary, scores, options);
}

}  // namespace moebox
