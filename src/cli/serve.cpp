// moebox serve: the settings become the server's options. The edge build has no server, and says so.
#include <memory>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"

#if !defined(MOEBOX_EDGE)
#include <cstdlib>

#include <fmt/core.h>

#include "base/log.h"
#include "cli/model_source.h"
#include "cli/profile.h"
#include "io/checkpoint.h"
#include "kv_store/kv_store.h"
#include "language_model/draft_model.h"
#include "server/server.h"
#endif

namespace moebox::cli {
namespace {

struct ServeOptions {
  std::vector<std::string> models;
  int allow_open = 0;
};

#if defined(MOEBOX_EDGE)

int serve(const Context&, const ServeOptions&) {
  throw Error(ErrorKind::unsupported, "this is the edge build: it has no server", "serve", "the release build has one");
}

#else

/// What all models of the server have in common.
struct Shared {
  std::shared_ptr<BlockStore> store;
  std::optional<std::filesystem::path> draft_model;
};

LanguageModelOptions engine_options(const Settings& settings, const Shared& shared) {
  LanguageModelOptions options = model_options(settings);
  options.engine.max_sequences = static_cast<int>(settings.integer("server.max_sequences"));
  options.engine.max_queued = static_cast<int>(settings.integer("server.max_queued"));
  options.engine.decode_slowdown = settings.number("server.decode_slowdown");
  options.engine.store = shared.store;
  if (shared.draft_model) draft_with(options, *shared.draft_model);
  return options;
}

/// "name=model" serves a model under another name.
ServedModel served_model(const Context& context, Hub& hub, const std::string& text, const Shared& shared) {
  const auto equals = text.find('=');
  const bool named = equals != std::string::npos && equals > 0 && text.find('/') > equals;
  const std::string model = named ? text.substr(equals + 1) : text;
  const auto path = fetch(context, hub, model);
  const bool is_path = model.find('/') != std::string::npos;
  const std::string own_name =
      is_path ? (std::filesystem::is_directory(path) ? path.filename() : path.stem()).string() : model;
  Settings settings = context.settings;
  apply_catalogue(settings, hub, model);
  const bool has_profile = apply_profile(settings, path, context.console);
  ServedModel served{.name = named ? text.substr(0, equals) : own_name,
                     .path = path,
                     .aliases = {},
                     .budget = routing_budget(settings)};
  if (has_profile) served.options = engine_options(settings, shared);
  return served;
}

/// Models are loaded when they are asked for: what none of them could do must be said before.
void check_drafts(const std::vector<ServedModel>& models, const LanguageModelOptions& options) {
  for (const ServedModel& model : models) {
    if (options.model.draft_layer) (void)describe_model(Checkpoint::open(model.path), options.model);
    if (!options.draft_model.empty()) check_draft_model(model.path, options.draft_model);
  }
}

/// nullptr when none is asked for.
std::shared_ptr<BlockStore> kv_store(const Settings& settings) {
  KvStoreOptions options;
  options.folder = settings.text("server.kv_store");
  const std::string file = settings.text("server.kv_store_key_file");
  if (options.folder.empty()) {
    // The variable may be exported for other servers; a file is named for this one.
    if (!file.empty())
      throw Error(ErrorKind::invalid_argument, "a key of the KV store without a KV store", "--kv-store-key-file",
                  "name the store's folder with --kv-store, or leave out the key");
    if (std::getenv("MOEBOX_KV_STORE_KEY") != nullptr)
      log(LogLevel::warning, "kv_store_key_unused", {{"advice", "--kv-store FOLDER, or unset MOEBOX_KV_STORE_KEY"}});
    return nullptr;
  }
  if (!settings.flag("prefix_cache"))
    throw Error(ErrorKind::invalid_argument, "a KV store is of no use without the prefix cache", "--kv-store",
                "leave out --no-prefix-cache, or --kv-store");
  options.capacity_bytes = settings.size_bytes("server.kv_store_size");
  const char* key = std::getenv("MOEBOX_KV_STORE_KEY");
  if (key != nullptr && !file.empty())
    throw Error(ErrorKind::invalid_argument, "the KV store has two keys", "--kv-store-key-file, MOEBOX_KV_STORE_KEY",
                "give one of them");
  if (key != nullptr && *key == '\0')
    throw Error(ErrorKind::invalid_argument, "MOEBOX_KV_STORE_KEY is set but empty", "environment",
                "unset it, or give it a key: openssl rand -hex 24");
  if (key != nullptr) options.key = key;
  if (!file.empty()) options.key = read_store_key(file);
  return std::make_shared<KvStore>(options);
}

ServerOptions server_options(const Context& context, const ServeOptions& options) {
  const Settings& settings = context.settings;
  const auto count = [&](const char* key) { return static_cast<int>(settings.integer(key)); };
  ServerOptions server;
  server.host = settings.text("server.host");
  server.port = static_cast<std::uint16_t>(count("server.port"));
  server.allow_open = options.allow_open >= 1;
  server.allow_open_again = options.allow_open >= 2;
  Hub hub = make_hub(context);
  Shared shared{kv_store(settings), {}};
  if (const auto second = draft_model(settings)) shared.draft_model = fetch(context, hub, *second);
  for (const std::string& model : options.models) server.models.push_back(served_model(context, hub, model, shared));
  server.model = engine_options(settings, shared);
  check_drafts(server.models, server.model);
  server.keep_alive = settings.duration("server.keep_alive");
  server.max_loaded_models = count("server.max_loaded_models");
  server.load_at_start = settings.flag("server.load_at_start");
  server.keys = keys_from_environment();
  if (const std::string file = settings.text("server.keys_file"); !file.empty()) {
    for (ApiKey& key : read_key_file(file)) server.keys.push_back(std::move(key));
  }
  server.share_prefixes = settings.flag("server.share_prefixes");
  server.requests_per_minute = settings.number("server.requests_per_minute");
  server.tokens_per_minute = settings.number("server.tokens_per_minute");
  server.tls_certificate = settings.text("server.tls_certificate");
  server.tls_key = settings.text("server.tls_key");
  server.cors_origins = settings.list("server.cors_origins");
  server.allowed_hosts = settings.list("server.allowed_hosts");
  server.limits.body_bytes = settings.size_bytes("server.body_bytes");
  server.limits.connections = count("server.connections");
  server.limits.connections_per_address = count("server.connections_per_address");
  server.limits.prompt_tokens = count("server.prompt_tokens");
  server.limits.output_tokens = count("server.output_tokens");
  server.drain_time = settings.duration("server.drain_time");
  server.io_threads = count("server.io_threads");
  server.worker_threads = count("server.worker_threads");
  server.log_prompts = settings.flag("server.log_prompts");
  return server;
}

int serve(const Context& context, ServeOptions options) {
  const Settings& settings = context.settings;
  if (!settings.is_set("log_level")) {
    configure_log(LogLevel::info, settings.text("log_format") == "json" ? LogFormat::json : LogFormat::text);
  }
  if (options.models.empty()) options.models.push_back(settings.text("model"));
  Server server(server_options(context, options));
  context.console.note(fmt::format("listening on {}\n", server.url()));
  server.run();
  return exit_ok;
}

#endif

}  // namespace

void add_serve(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "serve", "An OpenAI-compatible server",
                            "moebox serve smollm2-135m-instruct\n"
                            "moebox serve smollm2-135m-instruct coder=qwen2.5-coder-0.5b-instruct --keep-alive never\n"
                            "MOEBOX_API_KEY=... moebox serve ./model.gguf --host 0.0.0.0 --port 8443 \\\n"
                            "  --tls-certificate chain.pem --tls-key key.pem\n"
                            "curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\\n"
                            "  -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'");
  auto options = std::make_shared<ServeOptions>();
  verb->add_option("MODEL", options->models, "names, files or folders; name=MODEL serves it under another name")
      ->type_name("");
  verb->add_flag("--allow-open", options->allow_open,
                 "listen beyond this machine without any key; must be given twice");
  add_settings(verb, context,
               {"server.host", "server.port", "server.keys_file", "server.tls_certificate", "server.tls_key",
                "server.cors_origins", "server.allowed_hosts", "server.io_threads", "server.worker_threads"},
               "Network");
  add_settings(
      verb, context,
      {"server.keep_alive", "server.max_loaded_models", "server.load_at_start", "context", "threads", "kv_type",
       "kv_memory", "prefix_cache", "server.share_prefixes", "server.kv_store", "server.kv_store_size",
       "server.kv_store_key_file", "speculation", "draft_model", "draft_tokens", "pack_file", "expert_cache", "isa"},
      "Models");
  add_settings(verb, context, {"moe_top_p", "moe_threshold", "moe_min_experts", "moe_max_experts"},
               "Budget on a token's experts, for requests that bring none");
  add_settings(
      verb, context,
      {"server.max_sequences", "server.max_queued", "server.batch_tokens", "server.decode_slowdown",
       "server.requests_per_minute", "server.tokens_per_minute", "server.prompt_tokens", "server.output_tokens",
       "server.body_bytes", "server.connections", "server.connections_per_address", "server.drain_time"},
      "Limits");
  add_settings(verb, context, {"log_level", "log_format", "server.log_prompts"}, "Log");
  on_chosen(verb, context, [&context, options] { return serve(context, *options); });
}

}  // namespace moebox::cli
