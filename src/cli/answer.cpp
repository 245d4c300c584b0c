#include "cli/answer.h"

#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/anonymous_memory.h"
#include "base/error.h"
#include "cli/console.h"

namespace moebox::cli {
namespace {

/// Carries text from the engine's thread to the one that waits. The descriptor is readable when there is news.
class Mailbox : public TextListener {
 public:
  Mailbox() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0)
      throw Error(ErrorKind::io, std::string("an event descriptor could not be made: ") + std::strerror(errno));
  }
  ~Mailbox() override { ::close(fd_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  int fd() const { return fd_; }

  void on_piece(const TextPiece& piece) override {
    if (piece.text.empty()) return;
    const std::lock_guard lock(mutex_);
    text_ += piece.text;
    ring();
  }

  void on_finish(const TextFinish& finish) override {
    const std::lock_guard lock(mutex_);
    text_ += finish.text;
    finish_ = finish;
    ring();
  }

  struct News {
    std::string text;
    std::optional<TextFinish> finish;
  };
  News take() {
    std::uint64_t count;
    [[maybe_unused]] const ssize_t n = ::read(fd_, &count, sizeof count);
    const std::lock_guard lock(mutex_);
    News news{std::move(text_), std::move(finish_)};
    text_.clear();
    finish_.reset();
    return news;
  }

 private:
  void ring() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(fd_, &one, sizeof one);
  }

  int fd_;
  std::mutex mutex_;
  std::string text_;
  std::optional<TextFinish> finish_;
};

/// Reads what was typed; true when Ctrl-C was among it.
bool read_keys(const AnswerControl& control, bool& open) {
  char bytes[1024];
  const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof bytes);
  if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) open = false;
  bool stop = false;
  for (ssize_t i = 0; i < n; ++i) {
    if (bytes[i] == 0x03) {
      stop = true;
      control.typed->clear();
    } else if (bytes[i] == 0x1a) {
      control.raw->suspend();
    } else {
      *control.typed += bytes[i];
    }
  }
  return stop;
}

double per_second(double count, double ms) { return ms > 0 ? count * 1000.0 / ms : 0; }

}  // namespace

double Answer::prefill_tokens_per_second() const {
  return per_second(stats.prompt_tokens - stats.cached_tokens, stats.prefill_ms);
}

double Answer::decode_tokens_per_second() const {
  return stats.generated_tokens > 1 ? per_second(stats.generated_tokens - 1, stats.decode_ms) : 0;
}

Answer generate(LanguageModel& model, TextRequest request, Reasoning begin, const AnswerControl& control,
                const AnswerSink& on_text) {
  const auto mailbox = std::make_shared<Mailbox>();
  const RequestId id = model.generate(std::move(request), mailbox);
  bool keys_open = control.raw != nullptr;
  Answer answer;
  ReasoningSplitter splitter(begin);
  const auto add = [&](const ReasoningSplitter::Parts& parts) {
    answer.reasoning += parts.reasoning;
    if (!parts.reasoning.empty()) on_text(parts.reasoning, true);
    answer.text += parts.answer;
    if (!parts.answer.empty()) on_text(parts.answer, false);
  };
  try {
    for (;;) {
      pollfd watched[] = {{mailbox->fd(), POLLIN, 0}, {control.interrupts.fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
      if (::poll(watched, keys_open ? 3 : 2, -1) < 0 && errno != EINTR) {
        throw Error(ErrorKind::io, std::string("poll: ") + std::strerror(errno));
      }
      if (control.interrupts.take()) model.engine().cancel(id);
      if (keys_open && watched[2].revents != 0 && read_keys(control, keys_open)) model.engine().cancel(id);
      Mailbox::News news = mailbox->take();
      if (!news.text.empty()) add(splitter.push(news.text));
      if (!news.finish) continue;
      add(splitter.finish({}));
      if (news.finish->error) throw *news.finish->error;
      answer.reason = news.finish->reason;
      answer.matched_stop = news.finish->matched_stop;
      answer.stats = news.finish->stats;
      return answer;
    }
  } catch (...) {
    model.engine().cancel(id);
    throw;
  }
}

const char* reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::error:
      return "error";
  }
  return "error";
}

nlohmann::ordered_json answer_json(const Answer& answer) {
  nlohmann::ordered_json json = {{"text", answer.text},
                                 {"finish_reason", reason_name(answer.reason)},
                                 {"prompt_tokens", answer.stats.prompt_tokens},
                                 {"cached_tokens", answer.stats.cached_tokens},
                                 {"generated_tokens", answer.stats.generated_tokens},
                                 {"drafted_tokens", answer.stats.drafted_tokens},
                                 {"accepted_tokens", answer.stats.accepted_tokens},
                                 {"first_token_ms", answer.stats.first_token_ms},
                                 {"prefill_ms", answer.stats.prefill_ms},
                                 {"decode_ms", answer.stats.decode_ms},
                                 {"prefill_tokens_per_second", answer.prefill_tokens_per_second()},
                                 {"decode_tokens_per_second", answer.decode_tokens_per_second()},
                                 {"resident_bytes", resident_memory_bytes()}};
  if (!answer.reasoning.empty()) json["reasoning_content"] = answer.reasoning;
  if (const MoeUsage& moe = answer.stats.moe; moe.model.n_layers > 0)
    json["moe"] = {{"experts_per_token", moe.experts_per_token()},
                   {"active_parameters", moe.active_parameters()},
                   {"dropped_mass", moe.dropped_share()}};
  return json;
}

}  // namespace moebox::cli
