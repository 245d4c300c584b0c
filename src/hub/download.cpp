#include "hub/download.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "hub/source.h"

namespace moebox {
namespace {

constexpr std::uint64_t progress_that_counts = 64u << 10;

struct ContentRange {
  std::uint64_t first = 0, last = 0;
  std::optional<std::uint64_t> total;
};

/// "bytes 5-9/10" or "bytes 5-9/*"
std::optional<ContentRange> parse_content_range(const std::string& text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  const auto dash = text.find('-'), slash = text.find('/');
  if (dash == std::string::npos || slash == std::string::npos || slash < dash) return std::nullopt;
  const auto first = parse_decimal(std::string_view(text).substr(6, dash - 6));
  const auto last = parse_decimal(std::string_view(text).substr(dash + 1, slash - dash - 1));
  const std::string total = text.substr(slash + 1);
  if (!first || !last || *last < *first || (total != "*" && !parse_decimal(total))) return std::nullopt;
  return ContentRange{*first, *last, total == "*" ? std::nullopt : parse_decimal(total)};
}

class Download {
 public:
  Download(const HttpClient& client, std::filesystem::path target, const Backoff& backoff, ProgressReporter& reporter,
           std::uint64_t done_before)
      : client_(client),
        target_(std::move(target)),
        backoff_(backoff),
        reporter_(reporter),
        done_before_(done_before) {}

  /// The most that there ever was of the file: a server that always begins anew gets nowhere.
  std::uint64_t high_water() const { return high_water_; }
  /// Whether what was thrown away was begun by an earlier pull: then one fresh start is fair.
  bool continued() const { return continued_; }

  void attempt(const RemoteFile& remote) {
    prepare(remote.identity);
    if (!is_whole()) receive(remote);
    if (remote.identity.size_bytes != 0 && part_->size_bytes() < remote.identity.size_bytes) {
      throw NetworkError(
          fmt::format("the body ended after {} of {} bytes", part_->size_bytes(), remote.identity.size_bytes),
          remote.request.url.authority(), true);
    }
    reporter_.report(done_before_ + part_->size_bytes());
    committing_ = true;
    part_->commit();
  }
  bool committing() const { return committing_; }
  void forget() {
    part_.reset();
    committing_ = continued_ = false;
  }

 private:
  bool is_whole() const {
    return part_->identity().size_bytes != 0 && part_->size_bytes() == part_->identity().size_bytes;
  }

  void prepare(const FileIdentity& identity) {
    const bool same = part_ && part_->identity().size_bytes == identity.size_bytes &&
                      part_->identity().digest == identity.digest &&
                      (identity.digest.kind != DigestKind::none || part_->identity().etag == identity.etag);
    if (same) {
      // Nothing would tell whether the rest belongs to what there is.
      if (identity.digest.kind == DigestKind::none && identity.etag.empty() && part_->size_bytes() > 0)
        part_->restart({});
      return;
    }
    part_.reset();
    part_.emplace(target_, identity);
    continued_ = part_->size_bytes() > 0;
    high_water_ = std::max(high_water_, part_->size_bytes());
    if (continued_)
      backoff_.tell(fmt::format("{}: going on after {} bytes of an earlier pull", target_.filename().string(),
                                part_->size_bytes()));
    if (identity.size_bytes != 0) check_free_space(target_.parent_path(), identity.size_bytes - part_->size_bytes());
  }

  void receive(const RemoteFile& remote) {
    ClientRequest request = remote.request;
    const std::uint64_t offset = part_->size_bytes();
    if (offset > 0) {
      request.headers.add("Range", fmt::format("bytes={}-", offset));
      // With a digest the end of the file tells; without one the server must vouch that it is still the same file.
      if (remote.identity.digest.kind == DigestKind::none) request.headers.add("If-Range", remote.identity.etag);
    }
    HttpHandlers handlers;
    handlers.on_head = [&](const ClientResponse& response) {
      check_head(response, offset, remote.link_expires);
      return true;
    };
    handlers.on_body = [&](std::string_view bytes) {
      part_->append(bytes);
      high_water_ = std::max(high_water_, part_->size_bytes());
      reporter_.report(done_before_ + part_->size_bytes());
    };
    client_.send_following(request, handlers);
  }

  void check_head(const ClientResponse& response, std::uint64_t offset, bool link_expires) {
    const std::uint64_t size = part_->identity().size_bytes;
    const std::string where = response.url.authority();
    if (response.status == 200) {
      // The range was ignored, or the file is another one now: all of it comes.
      if (offset > 0) part_->restart(part_->identity().etag);
      if (response.content_length && size != 0 && *response.content_length != size) {
        throw NetworkError(fmt::format("{} bytes are on offer, expected {}", *response.content_length, size), where,
                           true);
      }
      return;
    }
    if (response.status == 206 && offset > 0) {
      const auto range = parse_content_range(response.headers.find("Content-Range").value_or(""));
      const bool fits = range && range->first == offset && (!range->total || size == 0 || *range->total == size) &&
                        (size == 0 || range->last == size - 1) &&
                        (!response.content_length || *response.content_length == range->last - range->first + 1);
      if (fits) return;
      part_->restart(part_->identity().etag);
      throw NetworkError("another range came than was asked for", where, true);
    }
    if (response.status == 416 && offset > 0) {
      part_->restart(part_->identity().etag);
      throw NetworkError("the file is shorter than what there is of it", where, true);
    }
    if (response.status == 206) throw NetworkError("a part came where the whole was asked for", where, true);
    if (link_expires && response.status / 100 == 4 && response.status != 429) {
      throw NetworkError(fmt::format("the link is not valid: {} {}", response.status, response.reason), where, true);
    }
    fail_for_status(response);
  }

  const HttpClient& client_;
  std::filesystem::path target_;
  const Backoff& backoff_;
  ProgressReporter& reporter_;
  std::uint64_t done_before_, high_water_ = 0;
  std::optional<PartialFile> part_;
  bool continued_ = false, committing_ = false;
};

}  // namespace

void fail_for_status(const ClientResponse& response) {
  const std::string where = response.url.authority();
  std::string message = fmt::format("the answer is {} {}", response.status, response.reason);
  if (const auto detail = response.headers.find("X-Error-Message")) message += ": " + printable(*detail);
  const int status = response.status;
  if (status == 429 || status == 503) {
    if (const auto wait_ms = retry_after_ms(response.headers)) {
      throw RetryLater(fmt::format("{}, come back in {} s", message, *wait_ms / 1000), where, *wait_ms,
                       "try again later");
    }
  }
  throw NetworkError(message, where, status == 408 || status == 429 || status >= 500,
                     status >= 500 || status == 429 ? "the other side has trouble: try again later" : "");
}

void download_file(const HttpClient& client, const std::function<RemoteFile()>& locate,
                   const std::filesystem::path& target, Backoff& backoff, ProgressReporter& reporter,
                   std::uint64_t done_before) {
  Download download(client, target, backoff, reporter, done_before);
  bool fresh_start_used = false;
  while (true) {
    const std::uint64_t before = download.high_water();
    try {
      download.attempt(locate());
      return backoff.succeeded();
    } catch (const NetworkError& e) {
      if (!backoff.again(e, download.high_water() - before >= progress_that_counts)) throw;
    } catch (const Error& e) {
      // A checksum that does not fit is no matter of trying often; but bytes of an earlier pull may be to blame, once.
      if (e.kind() != ErrorKind::network || !download.committing() || !download.continued() || fresh_start_used) throw;
      fresh_start_used = true;
      download.forget();
    }
  }
}

}  // namespace moebox
