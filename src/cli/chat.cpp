#include "cli/chat.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include <fmt/core.h>
#include <fmt/format.h>
#include <unistd.h>

#include "base/anonymous_memory.h"
#include "base/error.h"
#include "cli/answer.h"
#include "cli/answer_printer.h"
#include "cli/conversation.h"
#include "cli/exit_code.h"
#include "cli/model_source.h"
#include "cli/nearest.h"

namespace moebox::cli {
namespace {

constexpr int answer_reserve_tokens = 256;  // room that a question leaves for its answer, at least
constexpr std::string_view block_mark = "\"\"\"";

const std::vector<std::string> command_names = {"/system", "/clear", "/save", "/load",
                                                "/set",    "/show",  "/help", "/bye"};
const std::vector<std::string> settable = {"max_tokens",
                                           "temperature",
                                           "top_k",
                                           "top_p",
                                           "min_p",
                                           "typical_p",
                                           "repetition_penalty",
                                           "frequency_penalty",
                                           "presence_penalty",
                                           "moe_top_p",
                                           "moe_threshold",
                                           "moe_min_experts",
                                           "moe_max_experts",
                                           "seed"};

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\n\r");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\n\r") - first + 1);
}

/// Tab at the prompt: commands, and the names that /set takes.
std::vector<std::string> completions(const std::string& text) {
  std::vector<std::string> words;
  if (text.empty() || text.front() != '/') return words;
  std::vector<std::string> candidates = command_names;
  if (text.rfind("/set ", 0) == 0) {
    candidates.clear();
    for (const std::string& name : settable) candidates.push_back("/set " + name);
  }
  std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(words),
               [&](const std::string& word) { return word.rfind(text, 0) == 0; });
  return words;
}

class Chat {
 public:
  Chat(Context& context, LanguageModel& model, const ChatOptions& options)
      : context_(context),
        text_(*context.text),
        model_(model),
        options_(options),
        history_(context.settings.text("history")),
        editor_(history_, completions) {
    conversation_.system = context.settings.text("system");
    if (!options.load.empty()) load(options.load);
  }

  int run() {
    context_.console.note(say(text_.chat_welcome, options_.model_name));
    bool leaving = false;
    for (;;) {
      std::string message;
      bool is_block = false;
      const LineEditor::Result result = read_message(message, is_block);
      interrupts_.take();
      if (result == LineEditor::Result::end_of_input) break;
      if (result == LineEditor::Result::interrupted) {
        if (leaving) break;
        leaving = message.empty();
        if (leaving) context_.console.note(text_.leave_hint);
        continue;
      }
      leaving = false;
      if (trimmed(message).empty()) continue;
      history_.add(message);
      try {
        if (message.front() == '/' && !is_block && message.find('\n') == std::string::npos) {
          if (!command(message)) break;
        } else {
          answer(message);
        }
      } catch (const Error& error) {
        report(error);
        if (error.kind() == ErrorKind::internal) return exit_internal;
      }
    }
    return exit_ok;
  }

 private:
  LineEditor::Result read_line(const std::string& prompt, std::string& line) {
    if (context_.console.can_edit()) return editor_.read(prompt, line);
    // A terminal without cursor movement: the system's own line mode.
    context_.console.out(prompt);
    line.clear();
    for (;;) {
      char byte;
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && errno == EINTR) {
        context_.console.out("\n");
        return LineEditor::Result::interrupted;
      }
      if (n <= 0) return line.empty() ? LineEditor::Result::end_of_input : LineEditor::Result::line;
      if (byte == '\n') break;
      line += byte;
    }
    LineBuffer clean;
    clean.insert(line);
    line = clean.text();
    return LineEditor::Result::line;
  }

  /// One message: a line, lines that end with a backslash, or a block between two """ (which is never a command).
  LineEditor::Result read_message(std::string& message, bool& is_block) {
    message.clear();
    std::string line;
    LineEditor::Result result = read_line(">>> ", line);
    if (result != LineEditor::Result::line) {
      message = line;
      return result;
    }
    is_block = line.rfind(block_mark, 0) == 0;
    if (is_block) {
      line.erase(0, block_mark.size());
      while (line.find(block_mark) == std::string::npos) {
        message += line + "\n";
        result = read_line("... ", line);
        if (result == LineEditor::Result::interrupted) return result;
        if (result == LineEditor::Result::end_of_input) break;
      }
      message += line.substr(0, line.find(block_mark));
      message = trimmed(message);
      return LineEditor::Result::line;
    }
    while (!line.empty() && line.back() == '\\') {
      line.pop_back();
      message += line + "\n";
      result = read_line("... ", line);
      if (result == LineEditor::Result::interrupted) return result;
      if (result == LineEditor::Result::end_of_input) line.clear();
    }
    message += line;
    return LineEditor::Result::line;
  }

  void report(const Error& error) {
    const std::string message = error.where().empty() ? error.message() : error.where() + ": " + error.message();
    context_.console.error(say(text_.error, printable(message)));
    if (!error.hint().empty()) context_.console.error(say(text_.hint, printable(error.hint())));
  }

  std::vector<TokenId> prompt_ids(const std::string& message) {
    const int limit = model_.engine().options().context_tokens;
    const int longest = static_cast<int>(context_.settings.integer("max_tokens"));
    const int reserve = std::min(longest > 0 ? longest : answer_reserve_tokens, limit / 4);
    int dropped = 0;
    int needed = 0;
    std::vector<TokenId> ids;
    if (options_.raw) {
      ids = model_.tokenizer()->encode(message, true, options_.special);
      needed = static_cast<int>(ids.size());
      if (needed > limit - reserve) ids.clear();
    } else {
      ids = conversation_.encode_within(
          limit - reserve, [&](const std::vector<ChatMessage>& messages) { return model_.encode_chat(messages); },
          dropped, needed);
    }
    if (dropped > 0) context_.console.dim(say(text_.dropped, dropped));
    if (ids.empty()) {
      throw Error(ErrorKind::resource, say(text_.does_not_fit, needed, limit));
    }
    return ids;
  }

  void answer(const std::string& message) {
    if (!options_.raw) conversation_.add("user", message);
    Answer answer;
    try {
      answer =
          stream(text_request(context_.settings, model_.engine().model(), prompt_ids(message), options_.stop_strings));
    } catch (...) {
      if (!options_.raw) conversation_.undo();
      throw;
    }
    if (!options_.raw) {
      if (answer.text.empty()) {
        conversation_.undo();
      } else {
        conversation_.add("assistant", answer.text);
      }
    }
    const int prompt_tokens = answer.stats.prompt_tokens;
    const int generated = answer.stats.generated_tokens;
    const int limit = model_.engine().options().context_tokens;
    if (answer.reason == FinishReason::cancelled) context_.console.dim(text_.stopped);
    if (answer.reason == FinishReason::length) {
      context_.console.dim(prompt_tokens + generated >= limit ? say(text_.context_full, limit)
                                                              : say(text_.length_reached, generated));
    }
    print_figures(context_, answer);
  }

  Answer stream(TextRequest request) {
    const Console& console = context_.console;
    // Keys are watched during the answer: Ctrl-C then is a key like any other, and reaches nobody but this program.
    std::optional<RawMode> raw;
    if (console.can_edit()) raw.emplace();
    std::string typed;
    const AnswerControl control{interrupts_, raw ? &*raw : nullptr, &typed};
    AnswerPrinter printer(console);
    const Reasoning begin = options_.raw ? Reasoning::none : model_.reasoning(request.generation.prompt);
    Answer answer;
    try {
      answer = generate(model_, std::move(request), begin, control,
                        [&](std::string_view piece, bool reasoning) { printer.show(piece, reasoning); });
    } catch (...) {
      printer.finish();
      throw;
    }
    printer.finish();
    editor_.type_ahead(typed);
    return answer;
  }

  /// False ends the chat.
  bool command(const std::string& line) {
    const auto space = line.find_first_of(" \t");
    const std::string name = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : trimmed(line.substr(space));
    const Console& console = context_.console;
    if (name == "/bye" || name == "/exit" || name == "/quit") return false;
    if (name == "/help" || name == "/?") {
      console.note(text_.chat_help);
    } else if (name == "/clear") {
      conversation_.clear();
      console.note(text_.cleared);
    } else if (name == "/system") {
      set_system(rest);
    } else if (name == "/save") {
      need_file(rest, name);
      conversation_.save(rest, options_.model_name);
      console.note(say(text_.saved, conversation_.messages().size(), rest));
    } else if (name == "/load") {
      need_file(rest, name);
      load(rest);
    } else if (name == "/set") {
      set(rest);
    } else if (name == "/show") {
      show();
    } else {
      const auto near = nearest(name, command_names);
      throw Error(ErrorKind::invalid_argument, say(text_.unknown_command, name), "",
                  near ? say(text_.did_you_mean, *near) : "/help");
    }
    return true;
  }

  void need_file(const std::string& rest, const std::string& name) {
    if (rest.empty()) throw Error(ErrorKind::invalid_argument, "expected the name of a file", name);
  }

  void load(const std::string& file) {
    conversation_.load(file);
    context_.console.note(say(text_.loaded, conversation_.messages().size(), file));
  }

  void set_system(const std::string& text) {
    const Console& console = context_.console;
    if (text.empty()) {
      console.note(conversation_.system.empty() ? std::string(text_.system_none) : conversation_.system + "\n");
    } else if (text == "none" || text == "\"\"") {
      conversation_.system.clear();
      console.note(text_.system_removed);
    } else {
      conversation_.system = text;
      console.note(text_.system_set);
    }
  }

  void set(const std::string& rest) {
    if (rest.empty()) return show();
    const auto space = rest.find_first_of(" \t=");
    std::string name = rest.substr(0, space);
    std::replace(name.begin(), name.end(), '-', '_');
    const auto value_at = space == std::string::npos ? space : rest.find_first_not_of(" \t=", space);
    if (std::find(settable.begin(), settable.end(), name) == settable.end()) {
      const auto near = nearest(name, settable);
      throw Error(ErrorKind::invalid_argument, fmt::format("'{}' cannot be set here", name), "/set",
                  near ? say(text_.did_you_mean, *near) : fmt::format("{}", fmt::join(settable, ", ")));
    }
    if (value_at == std::string::npos) {
      context_.console.note(say(text_.value_set, name, context_.settings.text(name)));
      return;
    }
    context_.settings.set(name, rest.substr(value_at), Origin::option, "/set " + name);
    context_.console.note(say(text_.value_set, name, context_.settings.text(name)));
  }

  void show() {
    std::string out;
    const auto line = [&](std::string_view name, const std::string& value) {
      out += fmt::format("{}{}\n", pad_right(name, 20), printable(value));
    };
    line("model", options_.model_name);
    line("system", conversation_.system.empty() ? "-" : conversation_.system);
    for (const std::string& name : settable) line(name, context_.settings.text(name));
    const int limit = model_.engine().options().context_tokens;
    int used = 0;
    if (!options_.raw && !conversation_.turns().empty()) {
      used = static_cast<int>(model_.encode_chat(conversation_.messages()).size());
    }
    line("messages", std::to_string(conversation_.turns().size()));
    line("context", fmt::format("{} of {} tokens", used, limit));
    line("memory", bytes_text(resident_memory_bytes()));
    context_.console.note(out);
  }

  Context& context_;
  const Messages& text_;
  LanguageModel& model_;
  const ChatOptions& options_;
  InterruptGuard interrupts_;
  History history_;
  LineEditor editor_;
  Conversation conversation_;
};

}  // namespace

int chat(Context& context, LanguageModel& model, const ChatOptions& options) {
  Chat session(context, model, options);
  return session.run();
}

void print_figures(const Context& context, const Answer& answer) {
  const auto speed = [](double value) { return value > 0 ? fmt::format("{:.1f}", value) : std::string("-"); };
  const GenerationStats& stats = answer.stats;
  const std::string drafts =
      stats.drafted_tokens > 0 ? say(context.text->drafts, stats.accepted_tokens, stats.drafted_tokens) : std::string();
  context.console.dim(say(context.text->figures, answer.stats.generated_tokens, answer.stats.prompt_tokens,
                          speed(answer.prefill_tokens_per_second()), speed(answer.decode_tokens_per_second()), drafts,
                          fmt::format("{:.0f}", answer.stats.first_token_ms), bytes_text(resident_memory_bytes())));
}

}  // namespace moebox::cli
