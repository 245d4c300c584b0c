#include "chat/chat_template.h"

#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "chat/template_input.h"
#include "io/checkpoint.h"
#include "moebox_bridge.h"

namespace moebox {
namespace {

constexpr std::size_t max_config_bytes = 64u << 20;

moebox_text view(const std::string& text) { return {text.data(), text.size()}; }

/// Owns what the bridge returned.
struct BridgeResult : moebox_bridge_result {
  BridgeResult() : moebox_bridge_result{} {}
  BridgeResult(const BridgeResult&) = delete;
  BridgeResult& operator=(const BridgeResult&) = delete;
  ~BridgeResult() {
    if (text != nullptr) moebox_bridge_result_free(this);
  }
  std::string string() const { return std::string(text, text_size); }
};

ErrorKind kind_of(std::int32_t status, ErrorKind failed) {
  switch (status) {
    case MOEBOX_BRIDGE_SYNTAX:
      return ErrorKind::invalid_file;
    case MOEBOX_BRIDGE_LIMIT:
      return ErrorKind::resource;
    case MOEBOX_BRIDGE_PANIC:
      return ErrorKind::internal;
    default:
      return failed;
  }
}

void check(const BridgeResult& result, ErrorKind failed) {
  if (result.status == MOEBOX_BRIDGE_OK) return;
  std::string where = "chat template";
  if (result.line > 0) where += ", line " + std::to_string(result.line);
  std::string message = result.string();
  if (result.status == MOEBOX_BRIDGE_RAISED) message = "the model's chat template refuses these messages: " + message;
  throw Error(kind_of(result.status, failed), std::move(message), std::move(where));
}

size_t format_date(const void* user, const char* format, size_t format_size, char* out, size_t out_size) {
  std::tm parts{};
  if (localtime_r(static_cast<const std::time_t*>(user), &parts) == nullptr) return 0;
  return std::strftime(out, out_size, std::string(format, format_size).c_str(), &parts);
}

std::string read_text(const std::filesystem::path& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return {};
  if (size > max_config_bytes) {
    throw Error(ErrorKind::invalid_file, "larger than " + std::to_string(max_config_bytes) + " bytes", path.string());
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file) throw Error(ErrorKind::io, "cannot read the file", path.string());
  return text;
}

/// "chat_template" of a configuration: a string, or a list of named templates of which "default" is the one for chats.
std::string template_of(const nlohmann::json& config) {
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (found == config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return {};
  for (const auto& entry : *found) {
    if (!entry.is_object()) continue;
    const auto name = entry.find("name"), text = entry.find("template");
    if (name == entry.end() || *name != "default" || text == entry.end() || !text->is_string()) continue;
    return text->get<std::string>();
  }
  return {};
}

std::string find_source(const std::filesystem::path& folder) {
  if (std::string text = read_text(folder / "chat_template.jinja"); !text.empty()) return text;
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    const std::string text = read_text(folder / name);
    if (text.empty()) continue;
    const auto config = nlohmann::json::parse(text, nullptr, false);
    if (config.is_discarded()) throw Error(ErrorKind::invalid_file, "not JSON", (folder / name).string());
    if (std::string source = template_of(config); !source.empty()) return source;
  }
  return {};
}

std::string find_source(const Checkpoint& checkpoint) {
  return checkpoint.format() == Checkpoint::Format::gguf ? checkpoint.string("tokenizer.chat_template", std::string())
                                                         : find_source(checkpoint.path());
}

std::string text_of(const Tokenizer& tokenizer, std::optional<TokenId> id) {
  return id ? std::string(tokenizer.token_text(*id)) : std::string();
}

}  // namespace

std::vector<TextSpan> RenderedPrompt::spans() const {
  std::vector<TextSpan> result;
  const std::string_view all = text;
  std::size_t at = 0;
  for (const auto& [begin, end] : outside) {
    if (begin > at) result.push_back({all.substr(at, begin - at), true});
    result.push_back({all.substr(begin, end - begin), false});
    at = end;
  }
  if (at < all.size()) result.push_back({all.substr(at), true});
  return result;
}

struct ChatTemplate::State {
  struct Free {
    void operator()(moebox_template* parsed) const { moebox_template_free(parsed); }
  };
  std::string source, bos_token, eos_token;
  std::unique_ptr<moebox_template, Free> parsed;

  RenderedPrompt render(const std::string& variables, bool add_generation_prompt, std::time_t now, bool track) const {
    const std::string trusted = trusted_variables(bos_token, eos_token, add_generation_prompt);
    BridgeResult result;
    moebox_template_render(parsed.get(), view(trusted), view(variables), track, format_date, &now, &result);
    check(result, ErrorKind::invalid_argument);
    RenderedPrompt prompt{result.string(), {}};
    for (std::size_t i = 0; i + 1 < result.span_values; i += 2) {
      prompt.outside.emplace_back(result.spans[i], result.spans[i + 1]);
    }
    return prompt;
  }
};

ChatTemplate::ChatTemplate(std::string source, std::string bos_token, std::string eos_token, TemplateLimits limits)
    : state_(std::make_unique<State>()) {
  state_->source = std::move(source);
  state_->bos_token = std::move(bos_token);
  state_->eos_token = std::move(eos_token);
  const moebox_template_limits bounds{static_cast<std::uint64_t>(std::max(limits.time_ms, 1)),
                                      static_cast<std::size_t>(std::max(limits.recursion_depth, 1)),
                                      limits.output_bytes, limits.source_bytes, limits.memory_bytes};
  BridgeResult result;
  state_->parsed.reset(moebox_template_parse(view(state_->source), bounds, &result));
  check(result, ErrorKind::invalid_file);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::load(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  std::string source = find_source(checkpoint);
  if (source.empty()) {
    throw Error(ErrorKind::not_found, "the model carries no chat template", checkpoint.path().string(),
                "use it without a chat, or give a template");
  }
  const auto& special = tokenizer.special();
  return ChatTemplate(std::move(source), text_of(tokenizer, special.bos), text_of(tokenizer, special.eos));
}

bool ChatTemplate::available(const Checkpoint& checkpoint) { return !find_source(checkpoint).empty(); }

std::optional<ChatTemplate> ChatTemplate::find_in_folder(const std::filesystem::path& folder,
                                                         const Tokenizer& tokenizer) {
  std::string source = find_source(folder);
  if (source.empty()) return std::nullopt;
  const auto& special = tokenizer.special();
  return ChatTemplate(std::move(source), text_of(tokenizer, special.bos), text_of(tokenizer, special.eos));
}

const std::string& ChatTemplate::source() const noexcept { return state_->source; }

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages, const ChatTemplateOptions& options) const {
  const std::string variables = template_variables(messages, options);
  return state_->render(variables, options.add_generation_prompt, options.now.value_or(std::time(nullptr)), false).text;
}

RenderedPrompt ChatTemplate::render_marked(const std::vector<ChatMessage>& messages,
                                           const ChatTemplateOptions& options) const {
  const std::string variables = template_variables(messages, options);
  const std::time_t now = options.now.value_or(std::time(nullptr));
  RenderedPrompt prompt = state_->render(variables, options.add_generation_prompt, now, true);
  if (prompt.text != state_->render(variables, options.add_generation_prompt, now, false).text) {
    throw Error(ErrorKind::unsupported, "the chat template handles text so that its origin is lost", "chat template",
                "use another template for this model");
  }
  return prompt;
}

std::vector<TokenId> ChatTemplate::encode(const std::vector<ChatMessage>& messages, const Tokenizer& tokenizer,
                                          const ChatTemplateOptions& options) const {
  const RenderedPrompt prompt = render_marked(messages, options);
  return tokenizer.encode(prompt.spans(), false);
}

}  // namespace moebox
