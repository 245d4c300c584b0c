// moebox show: what a model's files say: metadata, tensors, sizes, template, licence, memory.
#include <algorithm>
#include <map>
#include <memory>

#include <fmt/core.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "chat/chat_template.h"
#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/memory_need.h"
#include "cli/model_source.h"
#include "cli/verbs.h"
#include "io/checkpoint.h"
#include "language_model/draft_model.h"

namespace moebox::cli {
namespace {

constexpr std::size_t longest_value = 60;  // of a metadata value in the short form
constexpr std::size_t shown_items = 4;     // of an array

struct ShowOptions {
  std::string model;
  bool tensors = false, chat_template = false, metadata = false, json = false;
};

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <class... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

/// Arrays as their first items and their length; texts in full.
nlohmann::ordered_json value_json(const MetadataValue& value, bool whole_arrays) {
  const auto array = [&](const auto& items) -> nlohmann::ordered_json {
    const std::size_t n = whole_arrays ? items.size() : std::min(items.size(), shown_items);
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < n; ++i) list.push_back(items[i]);
    if (n == items.size()) return list;
    return {{"first", list}, {"length", items.size()}};
  };
  return std::visit(Overloaded{[&](const std::vector<bool>& items) { return array(items); },
                               [&](const std::vector<std::int64_t>& items) { return array(items); },
                               [&](const std::vector<double>& items) { return array(items); },
                               [&](const std::vector<std::string_view>& items) { return array(items); },
                               [](const auto& scalar) { return nlohmann::ordered_json(scalar); }},
                    value);
}

std::string value_text(const MetadataValue& value) {
  const nlohmann::ordered_json json = value_json(value, false);
  if (json.is_object()) {
    const std::string first = json_text(json["first"]);
    return fmt::format("{}, ... ({} values)", first.substr(0, first.size() - 1), json["length"].get<std::size_t>()) +
           "]";
  }
  return json.is_string() ? json.get<std::string>() : json_text(json);
}

/// One line, cut after whole characters.
std::string shortened(const std::string& text) {
  std::string line;
  for (const char c : printable(text)) line += c == '\n' || c == '\t' ? ' ' : c;
  if (line.size() <= longest_value) return line;
  std::size_t end = longest_value;
  while (end > 0 && (static_cast<unsigned char>(line[end]) & 0xc0) == 0x80) --end;
  return line.substr(0, end) + "...";
}

std::string architecture(const Checkpoint& checkpoint) {
  if (checkpoint.format() == Checkpoint::Format::gguf) return checkpoint.string("general.architecture", "?");
  return checkpoint.config().is_object() ? checkpoint.config().value("model_type", "?") : "?";
}

std::string licence(const Hub& hub, const Checkpoint& checkpoint, const std::string& model) {
  if (const auto* value = checkpoint.find("general.license")) return value_text(*value);
  for (const CatalogueEntry& entry : hub.catalogue()) {
    if (entry.name == model && !entry.licence.empty()) return entry.licence;
  }
  return "";
}

struct TypeTotal {
  std::size_t tensors = 0;
  std::uint64_t elements = 0, bytes = 0;
};

std::map<std::string, TypeTotal> totals_by_type(const Checkpoint& checkpoint) {
  std::map<std::string, TypeTotal> totals;
  for (const TensorView& tensor : checkpoint.tensors()) {
    TypeTotal& total = totals[std::string(name(tensor.dtype))];
    ++total.tensors;
    total.elements += static_cast<std::uint64_t>(tensor.n_elements());
    total.bytes += tensor.data.size();
  }
  return totals;
}

std::uint64_t parameters(const Checkpoint& checkpoint) {
  std::uint64_t n = 0;
  for (const TensorView& tensor : checkpoint.tensors()) n += static_cast<std::uint64_t>(tensor.n_elements());
  return n;
}

std::string template_source(const Checkpoint& checkpoint) {
  if (const auto* value = checkpoint.find("tokenizer.chat_template")) {
    if (const auto* text = std::get_if<std::string>(value)) return *text;
  }
  if (!ChatTemplate::available(checkpoint)) return "";
  return ChatTemplate::load(checkpoint, *Tokenizer::load(checkpoint)).source();
}

// ---- JSON
// -----------------------------------------------------------------------------------------------------------------------

nlohmann::ordered_json tensors_json(const Checkpoint& checkpoint) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const TensorView& tensor : checkpoint.tensors()) {
    nlohmann::ordered_json shape = nlohmann::ordered_json::array();
    for (int i = 0; i < tensor.rank; ++i) shape.push_back(tensor.shape[static_cast<std::size_t>(i)]);
    list.push_back(
        {{"name", tensor.name}, {"type", name(tensor.dtype)}, {"shape", shape}, {"bytes", tensor.data.size()}});
  }
  return list;
}

nlohmann::ordered_json metadata_json(const Checkpoint& checkpoint, bool whole_arrays) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [key, value] : checkpoint.metadata()) object[key] = value_json(value, whole_arrays);
  return object;
}

nlohmann::ordered_json summary_json(const Hub& hub, const Checkpoint& checkpoint, const ShowOptions& options,
                                    const MemoryNeed& memory) {
  nlohmann::ordered_json types = nlohmann::ordered_json::object();
  for (const auto& [type, total] : totals_by_type(checkpoint)) {
    types[type] = {{"tensors", total.tensors}, {"elements", total.elements}, {"bytes", total.bytes}};
  }
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const auto& file : checkpoint.files()) files.push_back(file.string());
  nlohmann::ordered_json object = {{"model", options.model},
                                   {"architecture", architecture(checkpoint)},
                                   {"files", files},
                                   {"file_bytes", checkpoint.file_bytes()},
                                   {"parameters", parameters(checkpoint)},
                                   {"licence", licence(hub, checkpoint, options.model)},
                                   {"types", types}};
  if (memory.unsupported.empty()) {
    object["memory"] = {{"context_tokens", memory.context_tokens},
                        {"context_tokens_trained", memory.trained_context},
                        {"weight_bytes", memory.weight_bytes},
                        {"mapped_bytes", memory.mapped_bytes},
                        {"draft_weight_bytes", memory.draft_weight_bytes},
                        {"kv_bytes", memory.kv_bytes},
                        {"kv_bytes_per_token", memory.kv_bytes_per_token},
                        {"step_bytes", memory.step_bytes},
                        {"total_bytes", memory.total_bytes()},
                        {"cache_bytes", memory.cache_bytes},
                        {"cache_tokens", memory.cache_tokens}};
    object["mtp"] = {{"layers", memory.n_mtp_layers}, {"loaded", memory.mtp_loaded}};
    object["pack_file"] = {{"path", memory.pack.path.string()},
                           {"bytes", memory.pack.bytes},
                           {"usable", memory.pack.usable},
                           {"reason", memory.pack.reason}};
  } else {
    object["unsupported"] = memory.unsupported;
  }
  object["metadata"] = metadata_json(checkpoint, options.metadata);
  if (options.tensors) object["tensors"] = tensors_json(checkpoint);
  object["chat_template"] = template_source(checkpoint);
  return object;
}

// ---- text
// -----------------------------------------------------------------------------------------------------------------------

std::string summary_text(const Console& console, const Hub& hub, const Checkpoint& checkpoint,
                         const ShowOptions& options, const MemoryNeed& memory) {
  std::string out;
  const auto line = [&](const std::string& key, const std::string& value) {
    out += pad_right(key, 15) + printable(value) + "\n";
  };
  line("model", options.model);
  line("architecture", architecture(checkpoint));
  line("parameters", fmt::format("{:.1f} million", static_cast<double>(parameters(checkpoint)) / 1e6));
  for (const auto& file : checkpoint.files()) line("file", file.string());
  line("size", bytes_text(checkpoint.file_bytes()));
  std::string types;
  for (const auto& [type, total] : totals_by_type(checkpoint)) {
    types += fmt::format("{}{} {} ({})", types.empty() ? "" : ", ", total.tensors, type, bytes_text(total.bytes));
  }
  line("tensors", types);
  const std::string terms = licence(hub, checkpoint, options.model);
  line("licence", terms.empty() ? "not stated" : terms);
  if (memory.unsupported.empty()) {
    line("context", fmt::format("{} tokens as trained", memory.trained_context));
    line("memory",
         fmt::format("{}: {} weights + {} cache for {} tokens ({} bytes a token) + {} buffers",
                     bytes_text(memory.total_bytes()), bytes_text(memory.weight_bytes), bytes_text(memory.kv_bytes),
                     memory.context_tokens, memory.kv_bytes_per_token, bytes_text(memory.step_bytes)));
    line("cache", fmt::format("grows up to {}: {} tokens of all sequences together", bytes_text(memory.cache_bytes),
                              memory.cache_tokens));
    if (memory.draft_weight_bytes > 0)
      line("draft model", fmt::format("{} of the weights; its part of cache and buffers is counted, too",
                                      bytes_text(memory.draft_weight_bytes)));
    if (memory.n_mtp_layers > 0)
      line("predicts",
           fmt::format("{} for multi-token prediction, {}",
                       memory.n_mtp_layers == 1 ? "1 layer" : fmt::format("{} layers", memory.n_mtp_layers),
                       memory.mtp_loaded ? "the first is loaded" : "left out (--speculation mtp loads it)"));
    line("pack file", memory.pack.usable ? memory.pack.path.string()
                      : memory.pack.reason.empty()
                          ? fmt::format("none ('moebox pack' would write {})", bytes_text(memory.pack.bytes))
                          : fmt::format("not used, {}: {}", memory.pack.reason, memory.pack.path.string()));
  } else {
    line("cannot run", memory.unsupported);
  }
  const std::string source = template_source(checkpoint);
  line("template",
       source.empty() ? "none" : fmt::format("{} characters of Jinja (--template prints it)", source.size()));
  if (!checkpoint.metadata().empty()) out += "\n" + console.bold("metadata") + "\n";
  int widest = 0;
  for (const auto& [key, value] : checkpoint.metadata()) widest = std::max(widest, std::min(48, display_width(key)));
  for (const auto& [key, value] : checkpoint.metadata()) {
    out += fmt::format("  {}  {}\n", pad_right(printable(key), widest), shortened(value_text(value)));
  }
  return out;
}

std::string tensors_text(const Checkpoint& checkpoint) {
  int widest = 4;
  for (const TensorView& tensor : checkpoint.tensors())
    widest = std::max(widest, std::min(60, display_width(tensor.name)));
  std::string out;
  for (const TensorView& tensor : checkpoint.tensors()) {
    out += fmt::format("{}  {:7}  {:>9}  {}\n", pad_right(printable(tensor.name), widest), name(tensor.dtype),
                       bytes_text(tensor.data.size()), shape_text(tensor));
  }
  return out;
}

/// The second model that would draft, where the settings name one.
std::optional<Checkpoint> draft_checkpoint(const Hub& hub, const std::filesystem::path& model,
                                           const Settings& settings) {
  const auto second = draft_model(settings);
  if (!second) return std::nullopt;
  const auto path = hub.find(*second);
  if (!path) throw Error(ErrorKind::not_found, "is not here", *second, not_here_hint(*second));
  check_draft_model(model, *path);
  return Checkpoint::open(*path);
}

int show(const Context& context, const ShowOptions& options) {
  const Hub hub = make_hub(context);
  const auto path = hub.find(options.model);
  if (!path) {
    throw Error(ErrorKind::not_found, "is not here", options.model, not_here_hint(options.model));
  }
  const Checkpoint checkpoint = Checkpoint::open(*path);
  const std::optional<Checkpoint> draft = draft_checkpoint(hub, *path, context.settings);
  const auto need = [&] { return memory_need(checkpoint, context.settings, draft ? &*draft : nullptr); };
  const Console& console = context.console;
  if (options.json) {
    const MemoryNeed memory = need();
    console.out(json_text(summary_json(hub, checkpoint, options, memory), 2) + "\n");
    return exit_ok;
  }
  if (options.chat_template) {
    const std::string source = template_source(checkpoint);
    if (source.empty()) throw Error(ErrorKind::not_found, "has no chat template", path->string());
    console.out((console.output_is_terminal() ? printable(source) : source) + "\n");
  }
  if (options.tensors) console.out(tensors_text(checkpoint));
  if (options.metadata) {
    std::string out;
    for (const auto& [key, value] : checkpoint.metadata()) {
      out += printable(key) + " = " + printable(json_text(value_json(value, false))) + "\n";
    }
    console.out(out);
  }
  if (!options.chat_template && !options.tensors && !options.metadata) {
    console.out(summary_text(console, hub, checkpoint, options, need()));
  }
  return exit_ok;
}

}  // namespace

void add_show(CLI::App& program, Context& context) {
  CLI::App* verb =
      add_verb(program, "show", "What a model's files say: metadata, tensors, sizes, template, licence, memory",
               "moebox show smollm2-135m-instruct\n"
               "moebox show smollm2-135m-instruct --context 2048 --kv-type f32\n"
               "moebox show ./model.gguf --tensors\n"
               "moebox show ./model.gguf --json | jq .memory");
  auto options = std::make_shared<ShowOptions>();
  verb->add_option("MODEL", options->model, "name, file or folder")->required()->type_name("");
  verb->add_flag("--tensors", options->tensors, "every tensor with type, size and shape");
  verb->add_flag("--template", options->chat_template, "the chat template");
  verb->add_flag("--metadata", options->metadata, "every metadata key with its value in full, arrays cut");
  verb->add_flag("--json", options->json,
                 "print a JSON object; with --metadata also the arrays in full, with --tensors the tensors");
  add_settings(verb, context,
               {"context", "kv_type", "kv_memory", "expert_cache", "speculation", "draft_model", "threads"});
  on_chosen(verb, context, [&context, options] { return show(context, *options); });
}

}  // namespace moebox::cli
