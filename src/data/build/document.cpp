#include "data/build/document.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "io/json_file.h"
#include "tokenizer/utf8.h"

namespace moebox::data {
namespace {

bool is_blank(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; });
}

Document dropped(const char* reason) {
  Document document;
  document.dropped = reason;
  return document;
}

/// The text of a message: a string, or a list of parts {"type": "text", "text": ...}.
bool read_content(const nlohmann::json& content, std::string& text) {
  if (content.is_string()) {
    text = content.get<std::string>();
    return true;
  }
  if (!content.is_array()) return content.is_null();
  for (const nlohmann::json& part : content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string()) return false;
    text += part["text"].get<std::string>();
  }
  return true;
}

/// OpenAI's messages {"role", "content"}, or ShareGPT's {"from", "value"}.
bool read_messages(const nlohmann::json& list, std::vector<ChatMessage>& messages) {
  if (!list.is_array() || list.empty()) return false;
  for (const nlohmann::json& one : list) {
    if (!one.is_object()) return false;
    const bool shared = one.contains("from") && one.contains("value");
    const char *role_key = shared ? "from" : "role", *content_key = shared ? "value" : "content";
    if (!one.contains(role_key) || !one[role_key].is_string()) return false;
    ChatMessage message;
    message.role = one[role_key].get<std::string>();
    if (message.role == "human") message.role = "user";
    if (message.role == "gpt") message.role = "assistant";
    if (one.contains(content_key) && !read_content(one[content_key], message.content)) return false;
    nlohmann::ordered_json extra = nlohmann::ordered_json::object();
    for (const auto& [key, value] : one.items())
      if (key != role_key && key != content_key) extra[key] = nlohmann::ordered_json::parse(value.dump());
    if (!extra.empty()) message.extra = std::move(extra);
    messages.push_back(std::move(message));
  }
  return true;
}

Document read_json_record(const std::string& line, const SourceOptions& source) {
  nlohmann::json value;
  try {
    value = parse_json(line, "");
  } catch (const Error&) {
    return dropped("invalid_json");  // NaN is none either
  }
  Document document;
  const std::string& field = source.messages.empty() ? source.field : source.messages;
  if (!value.is_object() || !value.contains(field)) return dropped("no_such_field");
  if (!source.messages.empty()) {
    document.is_conversation = true;
    if (!read_messages(value[field], document.messages)) return dropped("not_messages");
    return document;
  }
  if (!value[field].is_string()) return dropped("not_a_text");
  document.text = value[field].get<std::string>();
  return document;
}

}  // namespace

Document read_document(Record& record, const SourceOptions& source, InvalidUtf8 invalid) {
  if (record.dropped != nullptr) return dropped(record.dropped);
  Document document;
  bool replaced = false;
  if (utf8::valid_prefix(record.bytes) != record.bytes.size()) {
    // A file with zero bytes is no text at all: replaced, it would be a page of marks.
    if (record.bytes.find('\0') != std::string::npos) return dropped("binary");
    if (invalid == InvalidUtf8::drop) return dropped("invalid_utf8");
    record.bytes = utf8::replace_invalid(record.bytes);
    replaced = true;
  }
  if (source.format == SourceFormat::jsonl) {
    if (is_blank(record.bytes)) return dropped("empty");
    document = read_json_record(record.bytes, source);
    if (document.dropped != nullptr) return document;
  } else {
    document.text = std::move(record.bytes);
  }
  document.invalid_utf8 = replaced;
  if (!document.is_conversation) {
    constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
    if (document.text.starts_with(byte_order_mark)) document.text.erase(0, byte_order_mark.size());
    if (document.text.find('\0') != std::string::npos) return dropped("binary");
    if (is_blank(document.text)) return dropped("empty");
  }
  return document;
}

}  // namespace moebox::data
