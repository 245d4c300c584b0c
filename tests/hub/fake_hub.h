// A hub with its CDN on loopback: answers as the real one does, until a test's hook answers otherwise.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <fmt/core.h>

#include "hub/digest.h"
#include "hub/hub.h"
#include "net/test_server.h"

namespace moebox::test {

inline std::string hash_of(DigestKind kind, const std::string& bytes) {
  Hasher hasher(kind, bytes.size());
  hasher.update(bytes);
  return hasher.finish();
}

/// Bytes that repeat nowhere, so that a piece in the wrong place shows.
inline std::string model_bytes(std::size_t size, std::uint32_t seed = 1) {
  std::string bytes(size, '\0');
  std::uint32_t state = seed * 2654435761u + 1;
  for (char& c : bytes) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return bytes;
}

/// Where a Range header wants to begin; 0 without one.
inline std::size_t range_start(const ServerRequest& request) {
  const std::string range = request.header("range");
  return range.starts_with("bytes=") ? std::stoul(range.substr(6)) : 0;
}

/// Head and body for `bytes` from where the request's Range says.
struct RangeAnswer {
  std::string head;
  std::string body;

  RangeAnswer(const ServerRequest& request, const std::string& bytes, const std::string& etag) {
    const std::size_t start = range_start(request);
    const std::string tag = etag.empty() ? "" : "ETag: " + etag + "\r\n";
    const bool changed = !request.header("if-range").empty() && request.header("if-range") != etag;
    if (start > 0 && start >= bytes.size() && !changed) {
      head = fmt::format("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{}\r\nContent-Length: 0\r\n\r\n",
                         bytes.size());
    } else if (start > 0 && !changed) {
      body = bytes.substr(start);
      head =
          fmt::format("HTTP/1.1 206 Partial Content\r\n{}Content-Range: bytes {}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                      tag, start, bytes.size() - 1, bytes.size(), body.size());
    } else {
      body = bytes;
      head = fmt::format("HTTP/1.1 200 OK\r\n{}Content-Length: {}\r\n\r\n", tag, body.size());
    }
  }
};

class FakeHub {
 public:
  struct File {
    std::string bytes;
    bool lfs = true;
  };
  /// Returns true when it has answered (or left the client alone).
  using Hook = std::function<bool(const ServerRequest&, ServerStream&)>;

  /// A hook that a test sets while the servers' threads run.
  class HookSlot {
   public:
    HookSlot& operator=(Hook hook) {
      const std::lock_guard lock(mutex_);
      hook_ = std::make_shared<const Hook>(std::move(hook));
      return *this;
    }
    bool operator()(const ServerRequest& request, ServerStream& stream) const {
      std::shared_ptr<const Hook> hook;
      {
        const std::lock_guard lock(mutex_);
        hook = hook_;
      }
      return hook && *hook && (*hook)(request, stream);
    }

   private:
    mutable std::mutex mutex_;
    std::shared_ptr<const Hook> hook_;
  };

  explicit FakeHub(std::map<std::string, File> files, const TestCertificate* certificate = nullptr)
      : files(std::move(files)) {
    // Another address and another port than the hub's.
    cdn = std::make_unique<TestServer>(
        [this](const ServerRequest& request, ServerStream& stream) { serve_cdn(request, stream); }, certificate,
        "127.0.0.2");
    hub = std::make_unique<TestServer>(
        [this](const ServerRequest& request, ServerStream& stream) { serve_hub(request, stream); }, certificate,
        "127.0.0.1");
  }

  std::map<std::string, File> files;  // not to be changed while a pull runs
  std::string commit = std::string(40, 'c');
  std::string listing;  // instead of the right one
  HookSlot on_hub, on_cdn;
  std::atomic<std::uint64_t> cdn_bytes{0};
  std::unique_ptr<TestServer> cdn, hub;

  std::string endpoint() const {
    const std::string url = hub->url("");
    return url;
  }

  /// Counts what it sends.
  bool send_cdn(ServerStream& stream, std::string_view bytes) {
    cdn_bytes += bytes.size();
    return stream.send(bytes);
  }

  /// The description of a file as headers.
  std::string description(const File& file) const {
    std::string text = fmt::format("X-Repo-Commit: {}\r\n", commit);
    if (file.lfs) {
      text += fmt::format("X-Linked-Size: {}\r\nX-Linked-Etag: \"{}\"\r\n", file.bytes.size(),
                          hash_of(DigestKind::sha256, file.bytes));
    } else {
      text += fmt::format("ETag: \"{}\"\r\n", hash_of(DigestKind::git_blob, file.bytes));
    }
    return text;
  }

 private:
  void serve_cdn(const ServerRequest& request, ServerStream& stream) {
    if (on_cdn(request, stream)) return;
    const auto file = files.find(request.target.substr(std::string("/cdn/").size()));
    if (file == files.end()) {
      stream.answer(404, "", "");
      return;
    }
    const RangeAnswer answer(request, file->second.bytes, "\"cdn-tag\"");
    stream.send(answer.head);
    send_cdn(stream, answer.body);
  }

  void serve_hub(const ServerRequest& request, ServerStream& stream) {
    if (on_hub(request, stream)) return;
    if (request.target.starts_with("/api/models/o/r/revision/")) {
      stream.answer(200, "Content-Type: application/json\r\n", listing.empty() ? right_listing() : listing);
      return;
    }
    const std::string resolve = "/o/r/resolve/", cache = "/api/resolve-cache/models/o/r/";
    const bool cached = request.target.starts_with(cache);
    if (!request.target.starts_with(resolve) && !cached) {
      stream.answer(404, "X-Error-Code: RepoNotFound\r\n", "");
      return;
    }
    const std::string rest = request.target.substr(cached ? cache.size() : resolve.size());
    const auto file = files.find(rest.substr(rest.find('/') + 1));
    const std::string revision = rest.substr(0, rest.find('/'));
    if (revision != "main" && revision != commit) {
      stream.answer(404, "X-Error-Code: RevisionNotFound\r\n", "");
    } else if (file == files.end()) {
      stream.answer(404, "X-Error-Code: EntryNotFound\r\n", "");
    } else if (file->second.lfs) {
      stream.answer(302, description(file->second) + fmt::format("Location: {}\r\n", cdn->url("/cdn/" + file->first)),
                    "");
    } else if (!cached) {
      // As the hub does for files that it keeps in git: a redirect to itself.
      stream.answer(307, fmt::format("Location: {}{}\r\n", cache, rest), "");
    } else {
      const RangeAnswer answer(request, file->second.bytes,
                               fmt::format("\"{}\"", hash_of(DigestKind::git_blob, file->second.bytes)));
      std::string head = answer.head;
      head.insert(head.find("\r\n") + 2, fmt::format("X-Repo-Commit: {}\r\n", commit));
      stream.send(head);
      if (request.method != "HEAD") stream.send(answer.body);
    }
  }

  std::string right_listing() const {
    std::string siblings;
    for (const auto& [path, file] : files) {
      siblings += fmt::format("{}{{\"rfilename\": \"{}\", \"size\": {}}}", siblings.empty() ? "" : ", ", path,
                              file.bytes.size());
    }
    return fmt::format("{{\"id\": \"o/r\", \"sha\": \"{}\", \"siblings\": [{}]}}", commit, siblings);
  }
};

}  // namespace moebox::test
