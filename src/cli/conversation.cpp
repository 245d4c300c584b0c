#include "cli/conversation.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fmt/core.h>

#include "base/error.h"
#include "base/json_problem.h"
#include "cli/console.h"
#include "cli/json_text.h"

namespace moebox::cli {
namespace {

constexpr std::size_t largest_file = std::size_t{64} << 20;

[[noreturn]] void refuse(const std::string& file, const std::string& message) {
  throw Error(ErrorKind::invalid_file, message, file, "expected a file that /save wrote");
}

nlohmann::json parse(const std::string& text, const std::string& file) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    refuse(file, fmt::format("is not valid JSON: {}", json_problem(error.what())));
  }
}

std::string text_field(const nlohmann::json& object, const char* name, const std::string& file) {
  const auto field = object.is_object() ? object.find(name) : object.end();
  if (!object.is_object() || field == object.end() || !field->is_string()) {
    refuse(file, fmt::format("expected a text '{}' in every message", name));
  }
  return field->get<std::string>();
}

}  // namespace

std::vector<ChatMessage> Conversation::messages() const {
  std::vector<ChatMessage> all;
  if (!system.empty()) all.push_back({"system", system});
  all.insert(all.end(), turns_.begin(), turns_.end());
  return all;
}

void Conversation::undo() {
  if (!turns_.empty()) turns_.pop_back();
}

std::vector<TokenId> Conversation::encode_within(int limit, const Encode& encode, int& dropped, int& needed) {
  dropped = 0;
  for (;;) {
    std::vector<TokenId> ids = encode(messages());
    needed = static_cast<int>(ids.size());
    if (needed <= limit) return ids;
    if (turns_.size() <= 1) return {};
    std::size_t first_kept = 1;
    while (first_kept + 1 < turns_.size() && turns_[first_kept].role != "user") ++first_kept;
    turns_.erase(turns_.begin(), turns_.begin() + static_cast<std::ptrdiff_t>(first_kept));
    dropped += static_cast<int>(first_kept);
  }
}

void Conversation::save(const std::string& file, const std::string& model) const {
  nlohmann::ordered_json turns = nlohmann::ordered_json::array();
  for (const ChatMessage& turn : messages()) turns.push_back({{"role", turn.role}, {"content", turn.content}});
  const nlohmann::ordered_json whole = {
      {"moebox", "conversation"}, {"version", 1}, {"model", model}, {"messages", turns}};
  const std::string text = json_text(whole, 2) + "\n";
  const std::string unfinished = file + ".part";
  std::FILE* out = std::fopen(unfinished.c_str(), "we");
  bool written = out != nullptr && std::fwrite(text.data(), 1, text.size(), out) == text.size();
  if (out != nullptr) written = std::fclose(out) == 0 && written;
  if (written) written = std::rename(unfinished.c_str(), file.c_str()) == 0;
  if (!written) {
    const std::string reason = std::strerror(errno);
    if (out != nullptr) std::remove(unfinished.c_str());
    throw Error(ErrorKind::io, "could not be written: " + reason, file);
  }
}

void Conversation::load(const std::string& file) {
  const nlohmann::json whole = parse(read_all(file, largest_file), file);
  const auto list = whole.is_object() ? whole.find("messages") : whole.end();
  if (!whole.is_object() || list == whole.end() || !list->is_array())
    refuse(file, "expected an object with an array 'messages'");
  std::string new_system;
  std::vector<ChatMessage> new_turns;
  for (const nlohmann::json& entry : *list) {
    std::string role = text_field(entry, "role", file);
    std::string content = text_field(entry, "content", file);
    if (role == "system") {
      new_system = std::move(content);
    } else if (role == "user" || role == "assistant") {
      new_turns.push_back({std::move(role), std::move(content)});
    } else {
      refuse(file, fmt::format("expected the role system, user or assistant, found '{}'", printable(role)));
    }
  }
  system = std::move(new_system);
  turns_ = std::move(new_turns);
}

}  // namespace moebox::cli
