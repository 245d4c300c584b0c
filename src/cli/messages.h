// What the program says to a person outside of the verbs' --help, in English and Chinese. Data only.
#pragma once

#include <string>
#include <string_view>

#include <fmt/core.h>

namespace moebox::cli {

enum class Language { english, chinese };

/// By `setting` ("auto", "en", "zh"); auto looks at LC_ALL, LC_MESSAGES and LANG, the first that is set.
Language language_of(std::string_view setting);

/// `{}` are the places that say() fills.
struct Messages {
  std::string_view overview;  // the screen of `moebox` without arguments: {} the version
  std::string_view error;     // {}: the message
  std::string_view hint;      // {}: what to do
  std::string_view interrupted;
  std::string_view chat_welcome;  // {}: the model
  std::string_view chat_help;
  std::string_view leave_hint;  // after the first Ctrl-C at the prompt
  std::string_view stopped;     // after Ctrl-C in an answer
  std::string_view cleared;
  std::string_view system_set;
  std::string_view system_removed;
  std::string_view system_none;
  std::string_view saved;            // {} messages, {} file
  std::string_view loaded;           // {} messages, {} file
  std::string_view value_set;        // {} = {}
  std::string_view dropped;          // {}: number of messages
  std::string_view does_not_fit;     // {} tokens of the message, {} of the context
  std::string_view context_full;     // {}: tokens
  std::string_view length_reached;   // {}: tokens
  std::string_view unknown_command;  // {}: what was typed
  std::string_view did_you_mean;     // {}: the nearest
  std::string_view figures;  // {} tokens, {} prompt tokens, {} prefill/s, {} decode/s, {} drafts, {} ms, {} memory
  std::string_view drafts;   // {} right, {} all
};

const Messages& messages(Language language);

template <class... Args>
std::string say(std::string_view message, const Args&... args) {
  return fmt::format(fmt::runtime(message), args...);
}

}  // namespace moebox::cli
