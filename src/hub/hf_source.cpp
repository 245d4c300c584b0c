#include "hub/hf_source.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/checked.h"
#include "base/error.h"
#include "hub/download.h"
#include "net/http_client.h"

namespace moebox {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t max_listing_bytes = 16u << 20;
constexpr std::size_t max_repository_files = 100'000;
constexpr int max_hub_redirects = 5;
constexpr std::uint64_t slow_bytes = 1024;  // in every `timeout_ms`

/// A file as the hub lists it.
struct ListedFile {
  std::string path;
  std::uint64_t size_bytes = 0;  // 0: not said
};

struct Listing {
  std::string commit;
  std::vector<ListedFile> files;
};

bool is_commit(std::string_view text) {
  return text.size() == 40 && Digest::from_hex(text).kind == DigestKind::git_blob;
}

/// W/"abc" -> abc
std::string bare_etag(std::string text) {
  if (text.starts_with("W/")) text.erase(0, 2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return text;
}

class HubClient {
 public:
  HubClient(const HfSource& source, const HubOptions& options, const HttpClient& http)
      : source_(source), options_(options), http_(http), endpoint_(endpoint(options)) {}

  /// What the hub says about a file, and where its bytes are. A redirect that describes the file (to a CDN, with a
  /// signed link) is not followed here; others (a renamed repository, a mirror) are, without the token where they leave
  /// the hub.
  RemoteFile locate(const std::string& revision, const std::string& file, std::string* commit = nullptr) const {
    ClientRequest request = to_hub("HEAD", fmt::format("/{}/{}/resolve/{}/{}", source_.owner, source_.repo,
                                                       percent_encode(revision, false), percent_encode(file, true)));
    for (int i = 0; i <= max_hub_redirects; ++i) {
      const ClientResponse response = http_.send(request);
      if (is_redirect(response)) {
        ClientRequest next = HttpClient::redirected(request, response);
        const bool describes = response.headers.find("X-Linked-Etag") && response.headers.find("X-Linked-Size");
        if (describes) return describe(response, std::move(next), file, commit);
        request = std::move(next);
        continue;
      }
      if (response.status != 200) fail(response, fmt::format("{}@{}", file, revision));
      return describe(response, std::move(request), file, commit);
    }
    throw NetworkError("redirects within the hub do not end", endpoint_.authority(), false);
  }

  Listing list() const {
    const ClientRequest request = to_hub("GET", fmt::format("/api/models/{}/{}/revision/{}?blobs=true", source_.owner,
                                                            source_.repo, percent_encode(source_.revision, false)));
    ClientResponse response;
    const std::string body = http_.fetch(request, max_listing_bytes, response);
    if (response.status != 200) fail(response, "revision " + source_.revision);
    return parse_listing(body);
  }

  std::string name() const { return fmt::format("hf:{}/{}", source_.owner, source_.repo); }

 private:
  static Url endpoint(const HubOptions& options) {
    std::string text = options.hf_endpoint;
    while (text.ends_with('/')) text.pop_back();
    Url url = Url::parse(text);
    if (url.target.find('?') != std::string::npos)
      throw Error(ErrorKind::invalid_argument, "the hub's address has a query", "HF_ENDPOINT");
    if (url.target == "/") url.target.clear();
    return url;
  }

  /// The token travels by TLS, or not at all beyond this machine.
  bool may_send_token() const {
    return !options_.hf_token.empty() && (endpoint_.scheme == "https" || is_loopback(endpoint_.host));
  }

  ClientRequest to_hub(std::string method, const std::string& target) const {
    ClientRequest request{std::move(method), endpoint_, {}, {}};
    request.url.target += target;
    if (may_send_token()) request.headers.add("Authorization", "Bearer " + options_.hf_token);
    return request;
  }

  RemoteFile describe(const ClientResponse& response, ClientRequest where, const std::string& file,
                      std::string* commit) const {
    const HttpHeaders& headers = response.headers;
    RemoteFile remote;
    where.method = "GET";
    remote.link_expires = where.url.origin() != endpoint_.origin();
    remote.request = std::move(where);
    const std::string etag = headers.find("X-Linked-Etag").value_or(headers.find("ETag").value_or(""));
    const auto linked_size = headers.find("X-Linked-Size");
    std::optional<std::uint64_t> size = is_redirect(response) ? std::nullopt : response.content_length;
    if (linked_size) size = parse_decimal(*linked_size);
    if (linked_size && !size) throw NetworkError("X-Linked-Size is no number", response.url.authority(), false);
    if (!size)
      throw NetworkError(fmt::format("the hub does not say how large {} is", file), response.url.authority(), false);
    remote.identity.size_bytes = *size;
    remote.identity.digest = Digest::from_hex(bare_etag(etag));
    // A weak tag does not promise the same bytes.
    if (etag.starts_with('"')) remote.identity.etag = etag;
    const std::string answered_commit = headers.find("X-Repo-Commit").value_or("");
    if (commit != nullptr && is_commit(answered_commit)) *commit = answered_commit;
    return remote;
  }

  Listing parse_listing(const std::string& body) const {
    const std::string where = fmt::format("listing of {}", name());
    const auto fail_listing = [&](const std::string& what) { throw NetworkError(what, where, false); };
    const json root = json::parse(body, nullptr, false);
    if (!root.is_object() || !root.contains("siblings") || !root["siblings"].is_array())
      fail_listing("it is not as the hub's API has it");
    if (root["siblings"].size() > max_repository_files)
      fail_listing(fmt::format("more than {} files", max_repository_files));
    Listing listing;
    if (root.contains("sha") && root["sha"].is_string() && is_commit(root["sha"].get<std::string>()))
      listing.commit = root["sha"].get<std::string>();
    for (const json& sibling : root["siblings"]) {
      if (!sibling.is_object() || !sibling.contains("rfilename") || !sibling["rfilename"].is_string())
        fail_listing("a file without a name");
      ListedFile file;
      file.path = sibling["rfilename"].get<std::string>();
      if (climbs(file.path))
        fail_listing(fmt::format("a file name that leaves its folder: \"{}\"", printable(file.path)));
      if (sibling.contains("size") && sibling["size"].is_number_unsigned())
        file.size_bytes = sibling["size"].get<std::uint64_t>();
      listing.files.push_back(std::move(file));
    }
    return listing;
  }

  static bool climbs(std::string_view path) {
    if (path.empty() || path.front() == '/' || path.find('\\') != std::string_view::npos ||
        has_control_characters(path))
      return true;
    for (std::size_t at = 0; at <= path.size();) {
      const auto slash = std::min(path.find('/', at), path.size());
      if (path.substr(at, slash - at) == "..") return true;
      at = slash + 1;
    }
    return false;
  }

  [[noreturn]] void fail(const ClientResponse& response, const std::string& what) const {
    const std::string code = response.headers.find("X-Error-Code").value_or("");
    const std::string page = fmt::format("{}/{}/{}", endpoint_.text(), source_.owner, source_.repo);
    const std::string token_hint = fmt::format("make a token at {}/settings/tokens and set HF_TOKEN", endpoint_.text());
    const bool denied = response.status == 401 || response.status == 403;
    if (code == "GatedRepo") {
      throw NetworkError("the model is gated: its owner wants you to accept terms first", name(), false,
                         fmt::format("accept them at {}, then {}", page, token_hint));
    }
    if (code == "RevisionNotFound")
      throw Error(ErrorKind::not_found, fmt::format("there is no revision \"{}\"", source_.revision), name(),
                  page + " shows what there is");
    if (code == "EntryNotFound")
      throw Error(ErrorKind::not_found, fmt::format("there is no file {}", what), name(),
                  page + " shows what there is");
    if (denied && !options_.hf_token.empty() && !may_send_token()) {
      throw NetworkError("the hub wants a token, which is not sent over plain http", name(), false,
                         "set HF_ENDPOINT to an https:// address");
    }
    if (denied &&
        response.headers.find("X-Error-Message").value_or("").find("Invalid credentials") != std::string::npos) {
      throw NetworkError("the hub does not accept the token", name(), false, token_hint);
    }
    if (code == "RepoNotFound" || response.status == 401 || response.status == 404) {
      throw Error(ErrorKind::not_found, "there is no such repository, or it is private", name(),
                  fmt::format("check the name at {}; for a private one {}", page, token_hint));
    }
    if (denied)
      throw NetworkError("the hub refuses access", name(), false,
                         fmt::format("look at {}; perhaps {}", page, token_hint));
    fail_for_status(response);
  }

  const HfSource& source_;
  const HubOptions& options_;
  const HttpClient& http_;
  Url endpoint_;
};

class HfPull {
 public:
  HfPull(const HfSource& source, const Place& place, std::uint64_t size_bytes, const std::string& sha256,
         const HubOptions& options, const PullProgress& progress)
      : source_(source),
        place_(place),
        size_bytes_(size_bytes),
        sha256_(sha256),
        reporter_(source.file.empty() ? fmt::format("{}/{}", source.owner, source.repo)
                                      : fs::path(source.file).filename().string(),
                  size_bytes, progress),
        backoff_(options, [this] { reporter_.tick(); }),
        http_(http_options(options)),
        hub_(source, options, http_) {}

  template <class Attempt>
  auto retried(Attempt&& attempt) {
    while (true) {
      try {
        auto result = attempt();
        backoff_.succeeded();
        return result;
      } catch (const NetworkError& e) {
        if (!backoff_.again(e, false)) throw;
      }
    }
  }

  void run() {
    if (!source_.file.empty()) return pull_model_file(source_.revision, source_.file, place_.file);
    const Listing listing = retried([&] { return hub_.list(); });
    const std::string revision = listing.commit.empty() ? source_.revision : listing.commit;
    std::vector<std::string> names;
    for (const ListedFile& file : listing.files) names.push_back(file.path);
    const auto folder_files = model_folder_files(names);
    if (!folder_files.empty() && !place_.folder.empty()) return pull_folder(revision, listing, folder_files);

    const std::string chosen = choose(gguf_models(names));
    const fs::path target = place_.file.empty() ? place_.owned_folder / "files" / chosen : place_.file;
    pull_model_file(revision, chosen, target);
    if (!place_.chosen.empty()) note(chosen);
  }

 private:
  HttpOptions http_options(const HubOptions& options) {
    HttpOptions result;
    result.timeout_ms = options.timeout_ms;
    result.minimum_bytes = slow_bytes;
    result.user_agent = "moebox";
    result.proxy = proxy_from_environment();
    result.tick = [this] { reporter_.tick(); };
    return result;
  }

  std::string choose(const std::vector<std::string>& models) const {
    if (models.size() == 1 && place_.folder.empty() == false && place_.owned_folder.empty()) {
      throw Error(ErrorKind::invalid_argument, "the repository is no model folder, it has a GGUF file", hub_.name(),
                  "give the catalogue's entry a \"file\" that ends in .gguf");
    }
    if (models.size() == 1) return models[0];
    if (models.empty()) {
      throw Error(ErrorKind::unsupported, "the repository has neither a GGUF file nor config.json with safetensors",
                  hub_.name(), "moebox runs these two forms");
    }
    std::string list;
    for (std::size_t i = 0; i < models.size() && i < 30; ++i)
      list +=
          fmt::format("\n  {}/{}{}", hub_.name(), models[i], source_.revision == "main" ? "" : "@" + source_.revision);
    if (models.size() > 30) list += fmt::format("\n  ... and {} more", models.size() - 30);
    throw Error(ErrorKind::invalid_argument, fmt::format("the repository has {} models", models.size()), hub_.name(),
                "name one:" + list);
  }

  /// A GGUF file with all of its parts; the first part comes last, so that a model with its first part is whole.
  void pull_model_file(const std::string& revision, const std::string& file, const fs::path& target) {
    const auto remote_parts = split_parts(fs::path(file).filename().string()),
               local_parts = split_parts(target.filename().string());
    if (remote_parts.size() != local_parts.size()) {
      throw Error(
          ErrorKind::invalid_argument,
          fmt::format("the model has {} parts, its name in the store {}", remote_parts.size(), local_parts.size()),
          hub_.name(), "call the catalogue's \"file\" as the source's, with -00001-of-...");
    }
    const bool split = remote_parts.size() > 1;
    std::string pinned = revision;  // all parts of one commit
    std::vector<RemoteFile> remotes;
    std::uint64_t total = 0;
    for (const auto& part : remote_parts) {
      remotes.push_back(retried([&] { return hub_.locate(pinned, sibling(file, part), split ? &pinned : nullptr); }));
      total = checked_add(total, remotes.back().identity.size_bytes, hub_.name());
    }
    if (size_bytes_ != 0 && total != size_bytes_)
      fail_catalogue(fmt::format("{} bytes", total), fmt::format("{}", size_bytes_));
    reporter_.set_total(total);
    make_folders(target.parent_path());
    std::uint64_t done = 0;
    for (std::size_t n = 0; n < remote_parts.size(); ++n) {
      const std::size_t i = (n + 1) % remote_parts.size();
      const fs::path part = target.parent_path() / local_parts[i];
      const std::uint64_t size = remotes[i].identity.size_bytes;
      if (!(split && bytes_at(part) == size))
        fetch(pinned, sibling(file, remote_parts[i]), part, done, split ? "" : sha256_, std::move(remotes[i]));
      done += size;
    }
    reporter_.finish(done);
  }

  static std::string sibling(const std::string& file, const std::string& name) {
    const auto slash = file.rfind('/');
    return slash == std::string::npos ? name : file.substr(0, slash + 1) + name;
  }

  /// `known` serves the first attempt; later ones ask anew.
  void fetch(const std::string& revision, const std::string& file, const fs::path& target, std::uint64_t done_before,
             const std::string& sha256, std::optional<RemoteFile> known = {}) {
    const auto locate = [&] {
      RemoteFile remote = known ? std::move(*known) : hub_.locate(revision, file);
      known.reset();
      if (!sha256.empty()) {
        if (remote.identity.digest.kind == DigestKind::sha256 && remote.identity.digest.hex != sha256)
          fail_catalogue(remote.identity.digest.hex, sha256);
        remote.identity.digest = Digest::from_hex(sha256);
      }
      return remote;
    };
    download_file(http_, locate, target, backoff_, reporter_, done_before);
  }

  /// Everything comes into `<folder>.part`, which gets its name when the last file is whole.
  void pull_folder(const std::string& revision, const Listing& listing, const std::vector<std::string>& names) {
    const fs::path folder = part_path(place_.folder);
    make_folders(folder);
    std::uint64_t total = 0;
    for (const ListedFile& file : listing.files) {
      if (std::find(names.begin(), names.end(), file.path) != names.end())
        total = checked_add(total, file.size_bytes, hub_.name());
    }
    if (size_bytes_ != 0 && total != size_bytes_)
      fail_catalogue(fmt::format("{} bytes", total), fmt::format("{}", size_bytes_));
    reporter_.set_total(total);
    remove_strangers(folder, names, true);
    std::uint64_t done = 0;
    for (const std::string& name : names) {
      const fs::path target = folder / name;
      RemoteFile remote = retried([&] { return hub_.locate(revision, name); });
      const std::uint64_t size = remote.identity.size_bytes;
      if (!is_there(target, remote.identity)) fetch(revision, name, target, done, "", std::move(remote));
      done += size;
      reporter_.report(done);
    }
    if (size_bytes_ != 0 && done != size_bytes_)
      fail_catalogue(fmt::format("{} bytes", done), fmt::format("{}", size_bytes_));
    remove_strangers(folder, names, false);
    sync_folder(folder);
    std::error_code error;
    fs::rename(folder, place_.folder, error);
    if (error) throw Error(ErrorKind::io, "cannot be named: " + error.message(), place_.folder.string());
    sync_folder(place_.folder.parent_path());
    reporter_.finish(done);
  }

  /// Deletes files of another revision that an earlier pull left, and, when all is done, the notes of a killed one.
  static void remove_strangers(const fs::path& folder, const std::vector<std::string>& names, bool keep_partial) {
    std::set<std::string> wanted;
    for (const std::string& name : names) {
      wanted.insert(name);
      if (keep_partial) wanted.insert({part_path(name).string(), part_state_path(name).string()});
    }
    std::vector<fs::path> strangers;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (!wanted.contains(entry.path().filename().string())) strangers.push_back(entry.path());
    }
    for (const fs::path& path : strangers) fs::remove_all(path);
  }

  /// Whether a file that an interrupted pull finished is still the right one.
  static bool is_there(const fs::path& path, const FileIdentity& identity) {
    std::error_code error;
    if (!fs::is_regular_file(path, error) || bytes_at(path) != identity.size_bytes ||
        identity.digest.kind == DigestKind::none)
      return false;
    std::ifstream file(path, std::ios::binary);
    Hasher hasher(identity.digest.kind, identity.size_bytes);
    std::vector<char> buffer(1u << 20);
    while (file) {
      file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
      hasher.update({buffer.data(), static_cast<std::size_t>(file.gcount())});
    }
    return hasher.finish() == identity.digest.hex;
  }

  void note(const std::string& chosen) const {
    const fs::path written = part_path(place_.chosen);
    std::ofstream file(written, std::ios::binary | std::ios::trunc);
    file << chosen;
    file.close();
    if (!file) throw Error(ErrorKind::io, "cannot be written", written.string());
    fs::rename(written, place_.chosen);
  }

  static void make_folders(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw Error(ErrorKind::io, "the folder cannot be made: " + error.message(), folder.string());
  }

  [[noreturn]] void fail_catalogue(const std::string& found, const std::string& expected) const {
    throw NetworkError(
        fmt::format("the hub has another file than the catalogue means: {}, expected {}", found, expected), hub_.name(),
        false,
        "the repository has changed: correct the catalogue's entry, or name the revision that it means (@revision)");
  }

  const HfSource& source_;
  const Place& place_;
  std::uint64_t size_bytes_;
  const std::string& sha256_;
  ProgressReporter reporter_;
  Backoff backoff_;
  HttpClient http_;
  HubClient hub_;
};

}  // namespace

std::vector<std::string> model_folder_files(const std::vector<std::string>& files) {
  const std::set<std::string> companions = {
      "config.json",     "generation_config.json",  "tokenizer.json",    "tokenizer_config.json",
      "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
      "merges.txt",      "chat_template.jinja",     "chat_template.json"};
  const auto is_top = [](const std::string& name) { return name.find('/') == std::string::npos; };
  const auto is_weights = [](const std::string& name) {
    return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
  };
  // Some repositories hold the weights twice (consolidated.safetensors): model*.safetensors is what transformers loads.
  const bool has_model = std::any_of(files.begin(), files.end(), [&](const auto& name) {
    return is_top(name) && name.starts_with("model") && name.ends_with(".safetensors");
  });
  std::vector<std::string> result;
  bool config = false, weights = false;
  for (const std::string& name : files) {
    if (!is_top(name) || !is_safe_file_name(name)) continue;
    const bool wanted_weights = is_weights(name) && (!has_model || name.starts_with("model"));
    if (!companions.contains(name) && !wanted_weights) continue;
    config |= name == "config.json";
    weights |= name.ends_with(".safetensors");
    result.push_back(name);
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return config && weights ? result : std::vector<std::string>();
}

std::vector<std::string> gguf_models(const std::vector<std::string>& files) {
  std::set<std::string> later_parts;
  std::vector<std::string> result;
  for (const std::string& path : files) {
    const auto slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
    const auto parts = split_parts(path.substr(folder.size()));
    for (std::size_t i = 1; i < parts.size(); ++i) later_parts.insert(folder + parts[i]);
  }
  for (const std::string& path : files) {
    // Projectors of vision models come beside their model.
    const bool projector = fs::path(path).filename().string().find("mmproj") != std::string::npos;
    if (path.ends_with(".gguf") && !projector && is_safe_relative_path(path) && !later_parts.contains(path))
      result.push_back(path);
  }
  std::sort(result.begin(), result.end());
  return result;
}

void pull_hf(const HfSource& source, const Place& place, std::uint64_t size_bytes, const std::string& sha256,
             const HubOptions& options, const PullProgress& progress) {
  HfPull(source, place, size_bytes, sha256, options, progress).run();
}

}  // namespace moebox
