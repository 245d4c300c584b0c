#include "data/build/conversation.h"

#include <algorithm>

#include "base/error.h"

namespace moebox::data {
namespace {

constexpr std::int64_t fixed_date = 1'735'689'600;  // 2025-01-01

struct ByteRange {
  std::size_t begin, end;
};

ChatTemplateOptions template_options(bool add_generation_prompt) {
  ChatTemplateOptions options;
  options.add_generation_prompt = add_generation_prompt;
  options.now = fixed_date;
  return options;
}

/// An answer in the conversation up to it.
struct Answer {
  std::string prompt;     // what the template writes to ask for it
  RenderedPrompt so_far;  // the conversation with it
  std::size_t end;        // of the answer in it, with the token that ends it

  std::string_view text() const { return std::string_view(so_far.text).substr(0, end); }
};

/// Behind the last token after `begin` that ends an answer and that the template wrote; the end of the text where there
/// is none.
std::size_t answer_end(const RenderedPrompt& prompt, std::size_t begin, const Tokenizer& tokenizer) {
  std::size_t end = 0;
  for (const TextSpan& span : prompt.spans()) {
    const auto at = static_cast<std::size_t>(span.text.data() - prompt.text.data());
    if (!span.trusted || at + span.text.size() <= begin) continue;
    for (const TokenId id : tokenizer.special().end_of_generation) {
      const std::string_view name = tokenizer.token_text(id);
      const auto found = span.text.rfind(name);
      if (found != std::string_view::npos && at + found >= begin) end = std::max(end, at + found + name.size());
    }
  }
  return end > 0 ? end : prompt.text.size();
}

/// Learnt are the tokens that lie in a range.
MaskedTokens masked(const RenderedPrompt& prompt, const std::vector<ByteRange>& ranges, const Tokenizer& tokenizer) {
  MaskedTokens result;
  result.ids = tokenizer.encode(prompt.spans(), false);
  result.mask.assign(result.ids.size(), 0);
  std::size_t n_bytes = 0;
  for (const TokenId id : result.ids) n_bytes += tokenizer.token_bytes(id, true).size();
  const std::size_t extra = n_bytes - std::min(n_bytes, prompt.text.size());
  if (n_bytes < prompt.text.size() || extra > (tokenizer.drops_leading_space() ? 1u : 0u))
    throw Error(ErrorKind::unsupported, "this tokenizer changes text: it cannot be told which tokens are an answer's",
                "loss mask");
  auto range = ranges.begin();
  std::size_t at = 0;
  for (std::size_t i = 0; i < result.ids.size() && range != ranges.end(); ++i) {
    const std::size_t begin = at - std::min(at, extra);
    at += tokenizer.token_bytes(result.ids[i], true).size();
    const std::size_t end = at - std::min(at, extra);
    while (range != ranges.end() && begin >= range->end) ++range;
    if (range != ranges.end() && begin >= range->begin && end <= range->end) result.mask[i] = 1;
  }
  return result;
}

bool learns(const MaskedTokens& tokens) { return std::ranges::find(tokens.mask, 1) != tokens.mask.end(); }

std::vector<Answer> find_answers(const std::vector<ChatMessage>& messages, const ChatTemplate& chat_template,
                                 const Tokenizer& tokenizer) {
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != "assistant") continue;
    const auto here = messages.begin() + static_cast<std::ptrdiff_t>(i);
    Answer answer{chat_template.render({messages.begin(), here}, template_options(true)),
                  chat_template.render_marked({messages.begin(), here + 1}, template_options(false)), 0};
    answer.end = answer_end(answer.so_far, answer.prompt.size(), tokenizer);
    answers.push_back(std::move(answer));
  }
  return answers;
}

}  // namespace

MaskedConversation mask_conversation(const std::vector<ChatMessage>& messages, const ChatTemplate& chat_template,
                                     const Tokenizer& tokenizer) {
  MaskedConversation result;
  std::vector<Answer> answers;
  RenderedPrompt whole;
  try {
    answers = find_answers(messages, chat_template, tokenizer);
    whole = chat_template.render_marked(messages, template_options(false));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::invalid_argument && error.kind() != ErrorKind::resource) throw;
    result.dropped = "template_refuses";
    return result;
  }
  result.text = whole.text;
  bool is_one_text = true;
  for (const Answer& answer : answers) {
    if (!answer.so_far.text.starts_with(answer.prompt)) result.dropped = "template_mismatch";
    is_one_text &= whole.text.starts_with(answer.text());
  }
  if (result.dropped != nullptr) return result;
  if (is_one_text) {
    std::vector<ByteRange> ranges;
    for (const Answer& answer : answers) ranges.push_back({answer.prompt.size(), answer.end});
    result.documents.push_back(masked(whole, ranges, tokenizer));
  } else {
    for (const Answer& answer : answers)
      result.documents.push_back(masked(answer.so_far, {{answer.prompt.size(), answer.end}}, tokenizer));
  }
  std::erase_if(result.documents, [](const MaskedTokens& one) { return !learns(one); });
  if (result.documents.empty()) result.dropped = "empty_mask";
  return result;
}

}  // namespace moebox::data
