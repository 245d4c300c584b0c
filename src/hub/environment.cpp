// The hub's settings as the environment gives them.
#include <cstdlib>
#include <fstream>
#include <string>

#include "base/error.h"
#include "hub/hub.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

/// XDG: a relative path in such a variable is to be ignored.
fs::path base_folder(const char* name, const char* below_home) {
  const fs::path given = variable(name);
  if (given.is_absolute()) return given;
  const std::string home = variable("HOME");
  return home.empty() ? fs::path() : fs::path(home) / below_home;
}

std::string trimmed(std::string text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (!text.empty() && is_space(text.back())) text.pop_back();
  while (!text.empty() && is_space(text.front())) text.erase(text.begin());
  return text;
}

std::string first_line(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string line(4096, '\0');
  if (!file) return {};
  file.read(line.data(), static_cast<std::streamsize>(line.size()));
  line.resize(static_cast<std::size_t>(file.gcount()));
  return trimmed(line.substr(0, line.find('\n')));
}

/// The token as the hub's own client stores it: HF_TOKEN, HF_TOKEN_PATH, $HF_HOME/token.
std::string hf_token() {
  if (const std::string token = trimmed(variable("HF_TOKEN")); !token.empty()) return token;
  if (const std::string path = variable("HF_TOKEN_PATH"); !path.empty()) return first_line(path);
  const std::string home = variable("HF_HOME");
  const fs::path folder = home.empty() ? base_folder("XDG_CACHE_HOME", ".cache") / "huggingface" : fs::path(home);
  return first_line(folder / "token");
}

}  // namespace

HubOptions hub_options_from_environment() {
  HubOptions options;
  options.store = variable("MOEBOX_STORE");
  if (options.store.empty()) {
    const fs::path cache = base_folder("XDG_CACHE_HOME", ".cache");
    if (cache.empty()) {
      throw Error(ErrorKind::invalid_argument, "there is no place for models: neither HOME nor XDG_CACHE_HOME is set",
                  {}, "set MOEBOX_STORE to a folder");
    }
    options.store = cache / "moebox" / "models";
  }
  // Several catalogues are separated by ':', as in PATH; the last one wins.
  std::string catalogues = variable("MOEBOX_CATALOGUE");
  while (!catalogues.empty()) {
    const auto colon = catalogues.find(':');
    if (const std::string path = catalogues.substr(0, colon); !path.empty()) options.catalogues.emplace_back(path);
    catalogues = colon == std::string::npos ? std::string() : catalogues.substr(colon + 1);
  }
  if (const std::string endpoint = trimmed(variable("HF_ENDPOINT")); !endpoint.empty()) options.hf_endpoint = endpoint;
  options.hf_token = hf_token();
  if (const std::string python = variable("MOEBOX_PYTHON"); !python.empty()) options.python = python;
  return options;
}

}  // namespace moebox
