// Byte-pair encoding with ranked merges, over the bytes or over the characters of a piece.
// Source: Sennrich et al. 2016 (arXiv 1508.07909); the behaviour is that of Hugging Face tokenizers.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "tokenizer/token_model.h"
#include "tokenizer/vocabulary.h"

namespace moebox {

class Bpe final : public TokenModel {
 public:
  struct Merge {
    TokenId left, right, result;
  };
  struct Options {
    bool byte_level = false;     // pieces are bytes, spelled in the vocabulary by GPT-2's byte map
    bool byte_fallback = false;  // unknown characters become the tokens <0x00> .. <0xFF>
    bool fuse_unknown = false;   // neighbouring unknown characters become one unknown token
    bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges say
    std::optional<TokenId> unknown;
  };

  /// `merges` by rank, the most important first; of equal pairs the last counts. `vocabulary` must outlive this object.
  /// Merges that would make a control token are left out. Throws Error(invalid_file) for ids outside the vocabulary.
  Bpe(const Vocabulary& vocabulary, const std::vector<Merge>& merges, const Options& options);

  std::unique_ptr<Scratch> make_scratch(std::size_t text_bytes) const override;
  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& ids) const override;

 private:
  struct Slot {
    std::uint64_t pair = kFree;
    std::uint64_t merge = kNoMerge;  // rank << 32 | result, so that the smaller is the more important
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};
  static constexpr std::uint64_t kNoMerge = ~std::uint64_t{0};
  struct Work;

  void insert(const Merge& merge, std::uint32_t rank);
  std::uint64_t find(TokenId left, TokenId right) const noexcept;
  void encode_new(std::string_view piece, Work& work, std::vector<TokenId>& ids) const;
  void add_symbols(std::string_view piece, std::vector<TokenId>& symbols) const;
  void merge_short(std::vector<TokenId>& symbols, Work& work) const;
  template <class Queue>
  void merge_long(std::vector<TokenId>& symbols, Work& work, Queue queue) const;

  const Vocabulary& vocabulary_;
  Options options_;
  std::array<TokenId, 256>
      byte_tokens_{};  // of single bytes (byte level), or of <0xNN> (byte fallback); -1 where there is none
  bool all_bytes_ = false;
  // Open addressing by pair. Most pairs that are looked for do not merge; one bit of a table that stays in the cache
  // tells most of these.
  int shift_ = 0, filter_shift_ = 0;
  std::vector<Slot> slots_;
  std::vector<std::uint64_t> filter_;
};

}  // namespace moebox
