// Encoding and decoding with the parts of a tokenizer.
#include "tokenizer/pipeline.h"

#include <algorithm>

#include <fmt/core.h>

#include "base/error.h"
#include "tokenizer/utf8.h"

namespace moebox {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{256} << 20;

class Pipeline final : public Tokenizer {
 public:
  explicit Pipeline(PipelineParts parts);

  int vocab_size() const noexcept override { return parts_.vocabulary->size(); }
  std::string_view token_text(TokenId id) const noexcept override {
    return parts_.vocabulary->contains(id) ? parts_.vocabulary->text(id) : std::string_view();
  }
  TokenKind token_kind(TokenId id) const noexcept override {
    return parts_.vocabulary->contains(id) ? parts_.vocabulary->kind(id) : TokenKind::unused;
  }
  std::optional<TokenId> find(std::string_view text) const noexcept override { return parts_.vocabulary->find(text); }

  std::vector<TokenId> encode(std::span<const TextSpan> spans, bool add_special) const override;

  std::string_view token_bytes(TokenId id, bool show_control) const noexcept override {
    if (!parts_.vocabulary->contains(id)) return {};
    if (parts_.vocabulary->kind(id) != TokenKind::control) return parts_.bytes[static_cast<std::size_t>(id)];
    return show_control ? parts_.vocabulary->text(id) : std::string_view();
  }
  bool drops_leading_space() const noexcept override { return parts_.drops_leading_space; }
  std::string decode(std::span<const TokenId> ids, bool show_control) const override;
  const Special& special() const noexcept override { return parts_.special; }

 private:
  class Call;

  PipelineParts parts_;
  AddedTokenFinder raw_tokens_;         // looked for in the text as it came
  AddedTokenFinder normalized_tokens_;  // looked for in the normalised text, by their normalised contents
  AddedTokenFinder raw_control_;        // the control tokens of normalized_tokens_ by their own contents
};

/// One call of encode.
class Pipeline::Call {
 public:
  Call(const Pipeline& pipeline, std::size_t text_bytes)
      : pipeline_(pipeline),
        parts_(pipeline.parts_),
        budget_(text_bytes),
        scratch_(parts_.model->make_scratch(text_bytes)) {
    ids_.reserve(text_bytes / 4 + 16);
  }

  std::vector<TokenId> run(std::string_view text, const TrustMap& trust, bool add_special) {
    if (add_special) ids_ = parts_.before;
    cut(text, 0, pipeline_.raw_tokens_, trust,
        [&](std::string_view piece, std::size_t at) { normalize(piece, at, trust); });
    if (add_special) ids_.insert(ids_.end(), parts_.after.begin(), parts_.after.end());
    return std::move(ids_);
  }

 private:
  /// Gives what lies between the tokens that `finder` finds in `text` to `rest(piece, its place)`. `at` is the place of
  /// `text`.
  template <class Rest>
  void cut(std::string_view text, std::size_t at, const AddedTokenFinder& finder, const TrustMap& trust, Rest&& rest) {
    std::size_t done = 0;
    if (!finder.empty()) {
      for (const auto& found : finder.find(text, trust)) {
        if (done < found.begin) rest(text.substr(done, found.begin - done), at + done);
        ids_.push_back(found.id);
        done = found.end;
      }
    }
    if (done < text.size()) rest(text.substr(done), at + done);
  }

  void normalize(std::string_view piece, std::size_t at, const TrustMap& trust) {
    const TrustMap own = trust.part(at, at + piece.size());
    std::string& changed = kept_.emplace_back();
    if (!parts_.normalizer || !parts_.normalizer->apply(piece, changed, budget_)) {
      kept_.pop_back();
      return encode_normalized(piece, at, own);
    }
    if (own.all(true) || own.all(false)) return encode_normalized(changed, at, uniform(changed.size(), own.all(true)));
    // Bytes that come from trusted and from untrusted text cannot be told apart any more: control tokens are found
    // before.
    kept_.pop_back();
    cut(piece, at, pipeline_.raw_control_, own, [&](std::string_view part, std::size_t part_at) {
      std::string& normal = kept_.emplace_back();
      if (!parts_.normalizer->apply(part, normal, budget_)) normal = part;
      encode_normalized(normal, part_at, uniform(normal.size(), false));
    });
  }

  static TrustMap uniform(std::size_t bytes, bool trusted) {
    TrustMap map;
    map.append(bytes, trusted);
    return map;
  }

  void encode_normalized(std::string_view text, std::size_t at, const TrustMap& trust) {
    cut(text, at, pipeline_.normalized_tokens_, trust, [&](std::string_view piece, std::size_t piece_at) {
      parts_.pre_tokenizer.split(piece, piece_at == 0, budget_, kept_,
                                 [&](std::string_view word) { parts_.model->encode(word, *scratch_, ids_); });
    });
  }

  const Pipeline& pipeline_;
  const PipelineParts& parts_;
  MatchBudget budget_;
  std::unique_ptr<TokenModel::Scratch> scratch_;
  std::deque<std::string> kept_;  // texts that pieces are views of
  std::vector<TokenId> ids_;
};

Pipeline::Pipeline(PipelineParts parts) : parts_(std::move(parts)) {
  std::vector<AddedToken> raw, normalized, raw_control;
  for (const AddedToken& token : parts_.added_tokens) {
    if (!token.normalized) {
      raw.push_back(token);
      continue;
    }
    if (token.control) raw_control.push_back(token);
    AddedToken normal = token;
    MatchBudget budget(token.content.size());
    std::string content;
    if (parts_.normalizer && parts_.normalizer->apply(token.content, content, budget))
      normal.content = std::move(content);
    if (!normal.content.empty()) normalized.push_back(std::move(normal));
  }
  raw_tokens_ = AddedTokenFinder(std::move(raw));
  normalized_tokens_ = AddedTokenFinder(std::move(normalized));
  raw_control_ = AddedTokenFinder(std::move(raw_control));
  parts_.added_tokens = {};
}

std::vector<TokenId> Pipeline::encode(std::span<const TextSpan> spans, bool add_special) const {
  std::size_t bytes = 0;
  for (const TextSpan& span : spans) {
    if (span.text.size() > kMaxTextBytes || (bytes += span.text.size()) > kMaxTextBytes) {
      throw Error(ErrorKind::invalid_argument,
                  fmt::format("the text to tokenize is longer than {} bytes", kMaxTextBytes), "tokenizer");
    }
  }
  TrustMap trust;
  if (spans.size() == 1 && utf8::valid_prefix(spans[0].text) == bytes) {
    trust.append(bytes, spans[0].trusted);
    return Call(*this, bytes).run(spans[0].text, trust, add_special);
  }
  std::string text;
  text.reserve(bytes);
  for (const TextSpan& span : spans) {
    const std::size_t before = text.size();
    if (utf8::valid_prefix(span.text) == span.text.size()) {
      text.append(span.text);
    } else {
      text.append(utf8::replace_invalid(span.text));
    }
    trust.append(text.size() - before, span.trusted);
  }
  return Call(*this, text.size()).run(text, trust, add_special);
}

std::string Pipeline::decode(std::span<const TokenId> ids, bool show_control) const {
  std::string bytes;
  for (const TokenId id : ids) bytes.append(token_bytes(id, show_control));
  if (parts_.drops_leading_space && bytes.starts_with(' ')) bytes.erase(0, 1);
  return utf8::valid_prefix(bytes) == bytes.size() ? bytes : utf8::replace_invalid(bytes);
}

}  // namespace

std::shared_ptr<const Tokenizer> make_pipeline(PipelineParts parts) {
  for (const TokenId id : parts.special.end_of_generation) {
    if (!parts.vocabulary->contains(id)) {
      throw Error(ErrorKind::invalid_file,
                  fmt::format("the token {}, which ends an answer, is not in the vocabulary of {}", id,
                              parts.vocabulary->size()),
                  "tokenizer: eos_token_id");
    }
  }
  add_well_known(*parts.vocabulary, parts.special);
  return std::make_shared<Pipeline>(std::move(parts));
}

}  // namespace moebox
