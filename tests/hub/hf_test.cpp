// hf: sources against a hub and a CDN of our own that drop, cut, lie, redirect and refuse.
#include <algorithm>
#include <mutex>
#include <random>
#include <thread>

#include "hub/backoff.h"
#include "hub/fake_hub.h"
#include "hub/hf_source.h"
#include "hub/partial_file.h"
#include "hub/support.h"

namespace moebox::test {
namespace {

class HfTest : public ::testing::Test {
 protected:
  HubOptions options(const FakeHub& hub) {
    HubOptions result;
    result.store = folder_ / "store";
    result.hf_endpoint = hub.endpoint();
    result.hf_token = "hf_secret";
    result.retries = 3;
    result.backoff_ms = 5;
    result.timeout_ms = 2000;
    result.notice = [this](const std::string& text) {
      const std::lock_guard lock(mutex_);
      notices_.push_back(text);
    };
    return result;
  }

  std::string pulled(const FakeHub& hub, const std::string& model = "hf:o/r/m.gguf") {
    return read_file(Hub(options(hub)).pull(model));
  }
  std::string failure(const FakeHub& hub, ErrorKind kind, const std::string& model = "hf:o/r/m.gguf") {
    return error_of(kind, [&] { Hub(options(hub)).pull(model); });
  }
  std::filesystem::path file(const std::string& name = "m.gguf") const {
    return folder_ / ("store/hf/o/r/main/files/" + name);
  }

  TempFolder folder_;
  std::mutex mutex_;
  std::vector<std::string> notices_;
  EnvironmentVariable http_proxy_{"http_proxy", nullptr}, https_proxy_{"https_proxy", nullptr},
      all_proxy_{"all_proxy", nullptr}, upper_{"ALL_PROXY", nullptr};
};

const std::string bytes = model_bytes(300'000);

// ---- what is right

TEST_F(HfTest, AFileByTheCdn) {
  FakeHub hub({{"m.gguf", {bytes}}});
  std::uint64_t last = 0, total = 0;
  Hub mine(options(hub));
  const auto path = mine.pull("hf:o/r/m.gguf", [&](std::string_view name, std::uint64_t done, std::uint64_t all) {
    EXPECT_EQ(name, "m.gguf");
    EXPECT_GE(done, last);
    last = done;
    total = all;
    return true;
  });
  EXPECT_EQ(path, file());
  EXPECT_EQ(read_file(path), bytes);
  EXPECT_EQ(last, bytes.size());
  EXPECT_EQ(total, bytes.size());
  EXPECT_EQ(mine.find("hf:o/r/m.gguf"), path);
  EXPECT_EQ(mine.list().at(0).name, "hf:o/r/m.gguf");
  EXPECT_EQ(names_below(folder_ / "store"), std::vector<std::string>{"hf/o/r/main/files/m.gguf"});

  const auto at_hub = hub.hub->requests(), at_cdn = hub.cdn->requests();
  ASSERT_EQ(at_hub.size(), 1u);
  EXPECT_EQ(at_hub[0].method, "HEAD");
  EXPECT_EQ(at_hub[0].target, "/o/r/resolve/main/m.gguf");
  EXPECT_EQ(at_hub[0].header("authorization"), "Bearer hf_secret");
  ASSERT_EQ(at_cdn.size(), 1u);
  EXPECT_EQ(at_cdn[0].raw.find("hf_secret"), std::string::npos) << "the token stays at the hub";
  mine.pull("hf:o/r/m.gguf");
  EXPECT_EQ(hub.hub->requests().size(), 1u) << "what is there is not asked for again";
}

TEST_F(HfTest, AFileThatTheHubKeepsInGit) {
  FakeHub hub({{"sub dir/m.gguf", {bytes, false}}});
  hub.on_hub = [&](const ServerRequest& request, ServerStream& stream) {
    // Names arrive encoded.
    if (request.target.find("sub%20dir/") == std::string::npos) return false;
    ServerRequest decoded = request;
    decoded.target.replace(decoded.target.find("%20"), 3, " ");
    const RangeAnswer answer(request, bytes, "\"" + hash_of(DigestKind::git_blob, bytes) + "\"");
    stream.send(answer.head);
    if (request.method != "HEAD") stream.send(answer.body);
    return true;
  };
  EXPECT_EQ(pulled(hub, "hf:o/r/sub dir/m.gguf"), bytes);
  EXPECT_EQ(hub.hub->requests().at(1).header("authorization"), "Bearer hf_secret")
      << "the bytes come from the hub itself";
}

TEST_F(HfTest, RedirectsWithinTheHub) {
  FakeHub hub({{"m.gguf", {bytes, false}}});
  EXPECT_EQ(pulled(hub), bytes);
  EXPECT_EQ(hub.hub->requests().size(), 3u);  // HEAD, HEAD of the redirect, GET
}

TEST_F(HfTest, RevisionsAndEndpointsWithAPath) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_hub = [&](const ServerRequest& request, ServerStream& stream) {
    if (request.target != "/mirror/o/r/resolve/refs%2Fpr%2F1/m.gguf") return false;
    stream.answer(302, hub.description(hub.files["m.gguf"]) + "Location: " + hub.cdn->url("/cdn/m.gguf") + "\r\n", "");
    return true;
  };
  HubOptions with_path = options(hub);
  with_path.hf_endpoint += "/mirror/";
  EXPECT_EQ(read_file(Hub(with_path).pull("hf:o/r/m.gguf@refs/pr/1")), bytes);
}

TEST_F(HfTest, EmptyFilesAreFiles) {
  FakeHub hub({{"m.gguf", {"", false}}});
  EXPECT_EQ(pulled(hub), "");
}

// ---- lost connections

TEST_F(HfTest, DropsAtRandomOffsets) {
  FakeHub hub({{"m.gguf", {bytes}}});
  std::mt19937 random(7);
  std::mutex random_mutex;
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    const RangeAnswer answer(request, bytes, "\"t\"");
    std::size_t size;
    bool reset;
    {
      const std::lock_guard lock(random_mutex);
      size = std::uniform_int_distribution<std::size_t>(0, 40'000)(random);
      reset = random() % 2 == 0;
    }
    if (size < 200) return true;  // not even a head
    stream.send(answer.head);
    hub.send_cdn(stream, std::string_view(answer.body).substr(0, size));
    stream.sleep_ms(2);
    if (reset) stream.reset_on_close();
    return true;
  };
  HubOptions patient = options(hub);
  patient.retries = 200;
  patient.backoff_ms = 0;
  EXPECT_EQ(read_file(Hub(patient).pull("hf:o/r/m.gguf")), bytes);
  EXPECT_GT(hub.cdn->requests().size(), 5u);
  EXPECT_LT(hub.cdn_bytes, 2 * bytes.size()) << "it went on where it stopped";
}

TEST_F(HfTest, GivesUpAndGoesOnLater) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    const RangeAnswer answer(request, bytes, "\"t\"");
    stream.send(answer.head);
    if (range_start(request) == 0) hub.send_cdn(stream, std::string_view(answer.body).substr(0, 100'000));
    return true;
  };
  expect_in(failure(hub, ErrorKind::network), "closed after");
  EXPECT_EQ(notices_.size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(file()));
  EXPECT_EQ(bytes_at(part_path(file())), 100'000u);
  hub.on_cdn = nullptr;
  hub.cdn_bytes = 0;
  EXPECT_EQ(pulled(hub), bytes);
  EXPECT_EQ(hub.cdn_bytes, bytes.size() - 100'000);
}

TEST_F(HfTest, AServerThatAlwaysBeginsAnewGetsNowhere) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    ServerRequest whole = request;
    whole.headers.clear();  // ignores Range
    const RangeAnswer answer(whole, bytes, "");
    stream.send(answer.head);
    stream.send(std::string_view(answer.body).substr(0, 200'000));
    return true;
  };
  failure(hub, ErrorKind::network);
  EXPECT_LE(hub.cdn->requests().size(), 6u);
}

TEST_F(HfTest, StallsAndTrickles) {
  FakeHub hub({{"m.gguf", {bytes}}});
  std::atomic<int> calls{0};
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    if (calls++ > 1) return false;
    const RangeAnswer answer(request, bytes, "");
    stream.send(answer.head);
    stream.send(answer.body.substr(0, 1000));
    if (calls == 1) stream.sleep_ms(5000);
    for (int i = 0; i < 50 && stream.send("x"); ++i) stream.sleep_ms(50);
    return true;
  };
  HubOptions quick = options(hub);
  quick.timeout_ms = 300;
  // The trickle is wrong bytes as well: the checksum finds them, and a fresh start repairs it.
  const auto path = Hub(quick);
  try {
    EXPECT_EQ(read_file(Hub(quick).pull("hf:o/r/m.gguf")), bytes);
  } catch (const Error& e) {
    expect_in(e.what(), "checksum");
    EXPECT_EQ(read_file(Hub(quick).pull("hf:o/r/m.gguf")), bytes);
  }
}

// ---- ranges

TEST_F(HfTest, IgnoredRange) {
  FakeHub hub({{"m.gguf", {bytes}}});
  std::atomic<int> calls{0};
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    ServerRequest whole = request;
    whole.headers.clear();
    const RangeAnswer answer(whole, bytes, "");
    stream.send(answer.head);
    hub.send_cdn(stream, std::string_view(answer.body).substr(0, calls++ == 0 ? 90'000 : bytes.size()));
    return true;
  };
  EXPECT_EQ(pulled(hub), bytes);
  EXPECT_EQ(range_start(hub.cdn->requests().at(1)), 90'000u);
}

/// What there is of the file at first, and what the CDN says to a range.
struct RangeCase {
  const char* name;
  std::string answer;
};

TEST_F(HfTest, WrongAnswersToARange) {
  const std::string rest = bytes.substr(1000);
  const RangeCase cases[] = {
      {"416", "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n"},
      {"another start",
       "HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-299999/300000\r\nContent-Length: 300000\r\n\r\n" + bytes},
      {"another total",
       "HTTP/1.1 206 Partial\r\nContent-Range: bytes 1000-299999/300001\r\nContent-Length: 299000\r\n\r\n" + rest},
      {"short", "HTTP/1.1 206 Partial\r\nContent-Range: bytes 1000-1999/300000\r\nContent-Length: 1000\r\n\r\n" +
                    rest.substr(0, 1000)},
      {"no Content-Range", "HTTP/1.1 206 Partial\r\nContent-Length: 299000\r\n\r\n" + rest},
      {"nonsense",
       "HTTP/1.1 206 Partial\r\nContent-Range: bytes 99999999999999999999-1/x\r\nContent-Length: 299000\r\n\r\n" +
           rest},
      {"length beside range",
       "HTTP/1.1 206 Partial\r\nContent-Range: bytes 1000-299999/300000\r\nContent-Length: 5\r\n\r\nhello"},
  };
  for (const RangeCase& c : cases) {
    SCOPED_TRACE(c.name);
    std::filesystem::remove_all(folder_ / "store");
    FakeHub hub({{"m.gguf", {bytes}}});
    std::atomic<int> calls{0};
    hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
      const int call = calls++;
      if (call == 0) {
        stream.send(RangeAnswer(request, bytes, "").head + bytes.substr(0, 1000));
        return true;
      }
      if (call == 1) stream.send(c.answer);
      return call == 1;
    };
    EXPECT_EQ(pulled(hub), bytes);
    EXPECT_EQ(range_start(hub.cdn->requests().at(1)), 1000u);
    EXPECT_EQ(range_start(hub.cdn->requests().at(2)), 0u) << "afterwards it began anew";
  }
}

TEST_F(HfTest, APartThatWasNotAskedFor) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_cdn = [&](const ServerRequest&, ServerStream& stream) {
    stream.send("HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-9/300000\r\nContent-Length: 10\r\n\r\n0123456789");
    return true;
  };
  expect_in(failure(hub, ErrorKind::network), "where the whole was asked for");
}

TEST_F(HfTest, WithoutAChecksumOnlyTheSameTagIsContinued) {
  // A mirror that has no checksums: its own tag changes while the file is fetched.
  FakeHub hub({});
  const std::string first = model_bytes(50'000, 1), second = model_bytes(50'000, 2);
  std::atomic<int> gets{0};
  hub.on_hub = [&](const ServerRequest& request, ServerStream& stream) {
    const bool changed = gets > 0;
    const RangeAnswer answer(request, changed ? second : first, changed ? "\"two\"" : "\"one\"");
    stream.send(answer.head);
    if (request.method == "HEAD") return true;
    stream.send(std::string_view(answer.body).substr(0, gets++ == 0 ? 20'000 : answer.body.size()));
    return true;
  };
  EXPECT_EQ(pulled(hub), second);

  std::filesystem::remove_all(folder_ / "store");
  gets = 0;
  std::atomic<int> heads{0};
  hub.on_hub = [&](const ServerRequest& request, ServerStream& stream) {
    // The tag stays as the description has it, but the GET knows better: If-Range makes it send the whole.
    if (request.method == "HEAD") {
      ++heads;
      stream.send(RangeAnswer(request, second, "\"two\"").head);
      return true;
    }
    const RangeAnswer answer(request, second, gets == 0 ? "\"two\"" : "\"three\"");
    stream.send(answer.head);
    stream.send(std::string_view(answer.body).substr(0, gets++ == 0 ? 20'000 : answer.body.size()));
    return true;
  };
  EXPECT_EQ(pulled(hub), second);
  EXPECT_EQ(hub.hub->requests().back().header("if-range"), "\"two\"");
}

TEST_F(HfTest, WithoutChecksumOrTagNothingIsContinued) {
  FakeHub hub({});
  std::atomic<int> gets{0};
  hub.on_hub = [&](const ServerRequest& request, ServerStream& stream) {
    const RangeAnswer answer(request, bytes, "");
    stream.send(answer.head);
    if (request.method != "HEAD")
      stream.send(std::string_view(answer.body).substr(0, gets++ == 0 ? 20'000 : answer.body.size()));
    return true;
  };
  EXPECT_EQ(pulled(hub), bytes);
  for (const auto& request : hub.hub->requests()) EXPECT_EQ(request.header("range"), "");
}

// ---- lies

TEST_F(HfTest, LiesAboutLengths) {
  for (const char* length : {"299999", "300001", "0", "18446744073709551615"}) {
    SCOPED_TRACE(length);
    FakeHub hub({{"m.gguf", {bytes}}});
    hub.on_cdn = [&](const ServerRequest&, ServerStream& stream) {
      stream.send(std::string("HTTP/1.1 200 OK\r\nContent-Length: ") + length + "\r\n\r\n" + bytes);
      return true;
    };
    expect_in(failure(hub, ErrorKind::network), "expected 300000");
    EXPECT_FALSE(std::filesystem::exists(file()));
  }
}

TEST_F(HfTest, ChunkedBodiesThatAreTooLongOrTooShort) {
  for (const int difference : {-1, 1}) {
    FakeHub hub({{"m.gguf", {bytes}}});
    hub.on_cdn = [&](const ServerRequest&, ServerStream& stream) {
      const std::string body = difference < 0 ? bytes.substr(1) : bytes + "x";
      stream.send(fmt::format("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                              body.size(), body));
      return true;
    };
    expect_in(failure(hub, ErrorKind::network), difference < 0 ? "ended after 299999 of 300000" : "more bytes came");
    EXPECT_FALSE(std::filesystem::exists(file()));
    std::filesystem::remove_all(folder_ / "store");
  }
}

TEST_F(HfTest, LiesAboutSizesAndChecksums) {
  const std::string sha = hash_of(DigestKind::sha256, bytes);
  const auto with = [&](const std::string& size, const std::string& etag) {
    std::filesystem::remove_all(folder_ / "store");
    FakeHub hub({{"m.gguf", {bytes}}});
    hub.on_hub = [&](const ServerRequest&, ServerStream& stream) {
      stream.answer(302,
                    fmt::format("X-Linked-Size: {}\r\nX-Linked-Etag: \"{}\"\r\nLocation: {}\r\n", size, etag,
                                hub.cdn->url("/cdn/m.gguf")),
                    "");
      return true;
    };
    const std::string text = failure(hub, ErrorKind::network);
    EXPECT_FALSE(std::filesystem::exists(file()));
    return text;
  };
  expect_in(with("300000", std::string(64, '0')), "checksum");
  EXPECT_TRUE(names_below(folder_ / "store").empty());
  expect_in(with("300000", std::string(40, '0')), "checksum");
  expect_in(with("299999", sha), "expected 299999");
  expect_in(with("-1", sha), "X-Linked-Size");
  expect_in(with("1e3", sha), "X-Linked-Size");
  EXPECT_NE(
      error_of(ErrorKind::io,
               [&] {
                 FakeHub hub({{"m.gguf", {bytes}}});
                 hub.on_hub = [&](const ServerRequest&, ServerStream& stream) {
                   stream.answer(
                       302,
                       fmt::format("X-Linked-Size: 9000000000000000000\r\nX-Linked-Etag: \"{}\"\r\nLocation: {}\r\n",
                                   sha, hub.cdn->url("/cdn/m.gguf")),
                       "");
                   return true;
                 };
                 Hub(options(hub)).pull("hf:o/r/m.gguf");
               })
          .find("needed"),
      std::string::npos);
}

TEST_F(HfTest, BadBytesOfAnEarlierPullAreRepairedOnce) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    stream.send(RangeAnswer(request, bytes, "").head + bytes.substr(0, 1000));
    return true;
  };
  HubOptions impatient = options(hub);
  impatient.retries = 0;
  error_of(ErrorKind::network, [&] { Hub(impatient).pull("hf:o/r/m.gguf"); });
  write_file(part_path(file()), std::string(1000, 'x'));
  hub.on_cdn = nullptr;
  EXPECT_EQ(pulled(hub), bytes);
}

TEST_F(HfTest, TheCatalogueHasTheLastWord) {
  FakeHub hub({{"m.gguf", {bytes}}});
  const auto with = [&](const std::string& fields) {
    write_file(folder_ / "c.json",
               R"({"format": 1, "models": [{"name": "mine", "source": "hf:o/r/m.gguf", "file": "mine.gguf", )" +
                   fields + "}]}");
    HubOptions result = options(hub);
    result.catalogues = {folder_ / "c.json"};
    return Hub(result);
  };
  expect_in(error_of(ErrorKind::network, [&] { with("\"size_bytes\": 5").pull("mine"); }), "expected 5");
  expect_in(error_of(ErrorKind::network, [&] { with("\"sha256\": \"" + std::string(64, '0') + "\"").pull("mine"); }),
            "another file than the catalogue");
  EXPECT_EQ(hub.cdn->requests().size(), 0u) << "found out before the bytes came";
  Hub good = with("\"size_bytes\": 300000, \"sha256\": \"" + hash_of(DigestKind::sha256, bytes) + "\"");
  EXPECT_EQ(good.pull("mine"), folder_ / "store/mine.gguf");
  EXPECT_EQ(good.list().at(0).name, "mine");
}

// ---- refusals

TEST_F(HfTest, StatusesAreExplained) {
  struct Case {
    int status;
    const char* headers;
    ErrorKind kind;
    const char* words;
  };
  const Case cases[] = {
      {401, "X-Error-Code: RepoNotFound\r\n", ErrorKind::not_found, "private"},
      {401, "", ErrorKind::not_found, "private"},
      {401, "X-Error-Message: Invalid credentials in Authorization header\r\n", ErrorKind::network,
       "does not accept the token"},
      {403, "X-Error-Code: GatedRepo\r\n", ErrorKind::network, "accept them at"},
      {401, "X-Error-Code: GatedRepo\r\n", ErrorKind::network, "settings/tokens"},
      {403, "X-Error-Message: blocked in your region\r\n", ErrorKind::network, "refuses access"},
      {404, "X-Error-Code: EntryNotFound\r\n", ErrorKind::not_found, "no file m.gguf"},
      {404, "X-Error-Code: RevisionNotFound\r\n", ErrorKind::not_found, "no revision \"main\""},
      {404, "X-Error-Code: RepoNotFound\r\n", ErrorKind::not_found, "no such repository"},
      {400, "X-Error-Message: bad\x1b[31m thing\r\n", ErrorKind::network, "not valid HTTP"},
      {418, "X-Error-Message: a teapot\r\n", ErrorKind::network, "418 Status: a teapot"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.words);
    FakeHub hub({});
    hub.on_hub = [&](const ServerRequest&, ServerStream& stream) {
      stream.answer(c.status, c.headers, "");
      return true;
    };
    const std::string text = failure(hub, c.kind);
    expect_in(text, c.words);
    EXPECT_EQ(text.find("hf_secret"), std::string::npos);
    EXPECT_EQ(hub.hub->requests().size(), 1u) << "trying again would not help";
  }
}

TEST_F(HfTest, BusyServersAreAskedAgain) {
  FakeHub hub({{"m.gguf", {bytes}}});
  std::atomic<int> hub_calls{0}, cdn_calls{0};
  hub.on_hub = [&](const ServerRequest&, ServerStream& stream) {
    const int call = hub_calls++;
    if (call == 0) stream.answer(429, "Retry-After: 1\r\n", "");
    if (call == 1) stream.answer(429, "RateLimit: \"api\";r=0;t=0\r\n", "");
    if (call == 2) stream.answer(500, "", "");
    return call <= 2;
  };
  hub.on_cdn = [&](const ServerRequest&, ServerStream& stream) {
    const int call = cdn_calls++;
    if (call == 0) stream.answer(403, "", "<xml>expired</xml>");
    return call == 0;
  };
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(pulled(hub), bytes);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1)) << "Retry-After is honoured";
  EXPECT_EQ(hub_calls, 5) << "an expired link is asked for anew";
  EXPECT_FALSE(notices_.empty());
}

TEST_F(HfTest, BusyForEver) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_hub = [&](const ServerRequest&, ServerStream& stream) {
    stream.answer(503, "", "");
    return true;
  };
  expect_in(failure(hub, ErrorKind::network), "503");
  EXPECT_EQ(hub.hub->requests().size(), 4u);
  hub.on_hub = [&](const ServerRequest&, ServerStream& stream) {
    stream.answer(429, "Retry-After: 86400\r\n", "");
    return true;
  };
  expect_in(failure(hub, ErrorKind::network), "come back in 86400 s");
  EXPECT_EQ(hub.hub->requests().size(), 5u);
}

TEST_F(HfTest, RedirectLoops) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_hub = [&](const ServerRequest& request, ServerStream& stream) {
    stream.answer(302, "Location: " + request.target + "\r\n", "");
    return true;
  };
  expect_in(failure(hub, ErrorKind::network), "do not end");
  hub.on_hub = nullptr;
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    stream.answer(302, "Location: " + request.target + "\r\n", "");
    return true;
  };
  expect_in(failure(hub, ErrorKind::network), "more than 10 redirects");
}

TEST_F(HfTest, ACdnThatRedirectsBackGetsNoToken) {
  FakeHub hub({{"m.gguf", {bytes}}});
  TestServer third([&](const ServerRequest& request,
                       ServerStream& stream) { stream.answer(200, "", bytes, request.method == "HEAD"); },
                   nullptr, "127.0.0.3");
  hub.on_cdn = [&](const ServerRequest&, ServerStream& stream) {
    stream.answer(302, "Location: " + third.url("/x") + "\r\n", "");
    return true;
  };
  EXPECT_EQ(pulled(hub), bytes);
  EXPECT_EQ(third.requests().at(0).raw.find("secret"), std::string::npos);
}

TEST_F(HfTest, AHubThatMovedAwayGetsNoTokenThere) {
  FakeHub hub({{"m.gguf", {bytes}}});
  TestServer moved(
      [&](const ServerRequest& request, ServerStream& stream) {
        stream.answer(200, "ETag: \"" + hash_of(DigestKind::sha256, bytes) + "\"\r\nContent-Length: 300000\r\n", bytes,
                      request.method == "HEAD");
      },
      nullptr, "127.0.0.4");
  hub.on_hub = [&](const ServerRequest& request, ServerStream& stream) {
    stream.answer(308, "Location: " + moved.url(request.target) + "\r\n", "");
    return true;
  };
  EXPECT_EQ(pulled(hub), bytes);
  for (const auto& request : moved.requests()) EXPECT_EQ(request.raw.find("secret"), std::string::npos);
}

TEST_F(HfTest, TheTokenDoesNotTravelInTheClear) {
  TestServer proxy([](const ServerRequest&, ServerStream& stream) { stream.answer(401, "", ""); });
  const std::string address = proxy.url("");
  const EnvironmentVariable through("http_proxy", address.c_str()), none("no_proxy", nullptr),
      none_either("NO_PROXY", nullptr);
  FakeHub hub({});
  HubOptions plain = options(hub);
  plain.hf_endpoint = "http://mirror.invalid";
  expect_in(error_of(ErrorKind::network, [&] { Hub(plain).pull("hf:o/r/m.gguf"); }), "not sent over plain http");
  EXPECT_EQ(proxy.requests().at(0).raw.find("secret"), std::string::npos);
}

TEST_F(HfTest, OverTls) {
  const auto certificate = TestCertificate::make("IP:127.0.0.1,IP:127.0.0.2");
  FakeHub hub({{"m.gguf", {bytes}}}, &certificate);
  {
    const EnvironmentVariable file("SSL_CERT_FILE", nullptr), folder("SSL_CERT_DIR", nullptr);
    expect_in(failure(hub, ErrorKind::network), "not trusted");
    EXPECT_TRUE(hub.hub->requests().empty());
  }
  write_file(folder_ / "ca.pem", certificate.certificate);
  const std::string path = (folder_ / "ca.pem").string();
  const EnvironmentVariable trust("SSL_CERT_FILE", path.c_str());
  EXPECT_EQ(pulled(hub), bytes);
  EXPECT_EQ(hub.hub->requests().at(0).header("authorization"), "Bearer hf_secret");
  EXPECT_EQ(hub.cdn->requests().at(0).header("authorization"), "");
}

// ---- whole repositories

TEST_F(HfTest, WhichFilesMakeAFolder) {
  EXPECT_EQ(
      model_folder_files({"README.md", "config.json", "model-00001-of-00002.safetensors",
                          "model-00002-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json",
                          "onnx/model.onnx", "consolidated.safetensors", "original/model.safetensors",
                          "pytorch_model.bin", "training_args.bin"}),
      (std::vector<std::string>{"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                "model.safetensors.index.json", "tokenizer.json"}));
  EXPECT_TRUE(model_folder_files({"config.json", "a.gguf"}).empty());
  EXPECT_TRUE(model_folder_files({"model.safetensors"}).empty());
  EXPECT_EQ(gguf_models({"a.gguf", "mmproj-a.gguf", "q/b-00001-of-00002.gguf", "q/b-00002-of-00002.gguf", "x.txt"}),
            (std::vector<std::string>{"a.gguf", "q/b-00001-of-00002.gguf"}));
}

std::map<std::string, FakeHub::File> folder_files() {
  return {{"README.md", {"text", false}},
          {"config.json", {"{\"model_type\": \"llama\"}", false}},
          {"tokenizer.json", {model_bytes(5000, 3), false}},
          {"model-00001-of-00002.safetensors", {model_bytes(200'000, 4)}},
          {"model-00002-of-00002.safetensors", {model_bytes(100'000, 5)}},
          {"model.safetensors.index.json", {"{}", false}}};
}

TEST_F(HfTest, AFolder) {
  FakeHub hub(folder_files());
  Hub mine(options(hub));
  std::uint64_t last = 0;
  const auto path = mine.pull("hf:o/r", [&](std::string_view name, std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(name, "o/r");
    EXPECT_LE(done, total == 0 ? done : total);
    last = done;
    return true;
  });
  EXPECT_EQ(path, folder_ / "store/hf/o/r/main/folder");
  EXPECT_EQ(names_below(path), (std::vector<std::string>{"config.json", "model-00001-of-00002.safetensors",
                                                         "model-00002-of-00002.safetensors",
                                                         "model.safetensors.index.json", "tokenizer.json"}));
  for (const std::string& name : names_below(path)) EXPECT_EQ(read_file(path / name), hub.files[name].bytes) << name;
  EXPECT_EQ(last, mine.list().at(0).size_bytes);
  for (const auto& request : hub.hub->requests()) {
    if (request.target.find("resolve") != std::string::npos) expect_in(request.target, hub.commit);
  }
}

TEST_F(HfTest, AnInterruptedFolderGoesOn) {
  FakeHub hub(folder_files());
  std::atomic<bool> broken{true};
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    if (!broken || request.target.find("00002-of") == std::string::npos) return false;
    stream.answer(404, "", "");
    return true;
  };
  failure(hub, ErrorKind::network, "hf:o/r");
  EXPECT_FALSE(Hub(options(hub)).find("hf:o/r"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "store/hf/o/r/main/folder.part/model-00001-of-00002.safetensors"));
  write_file(folder_ / "store/hf/o/r/main/folder.part/stranger.safetensors", "of another revision");
  write_file(folder_ / "store/hf/o/r/main/folder.part/config.json", "{\"model_type\": \"wrong\"}");
  broken = false;
  hub.cdn_bytes = 0;
  const auto path = Hub(options(hub)).pull("hf:o/r");
  EXPECT_EQ(hub.cdn_bytes, 100'000u) << "the first file was there";
  EXPECT_EQ(names_below(path).size(), 5u);
  EXPECT_EQ(read_file(path / "config.json"), hub.files["config.json"].bytes);
}

TEST_F(HfTest, ARepositoryWithOneGguf) {
  FakeHub hub({{"README.md", {"text", false}}, {"config.json", {"{}", false}}, {"q4/m.gguf", {bytes}}});
  Hub mine(options(hub));
  const auto path = mine.pull("hf:o/r");
  EXPECT_EQ(path, file("q4/m.gguf"));
  EXPECT_EQ(mine.find("hf:o/r"), path);
  EXPECT_EQ(mine.find("hf:o/r/q4/m.gguf"), path);
  mine.remove("hf:o/r");
  EXPECT_TRUE(names_below(folder_ / "store").empty());
}

TEST_F(HfTest, ARepositoryWithSeveralModels) {
  FakeHub hub({{"a.gguf", {bytes}}, {"b-00001-of-00002.gguf", {bytes}}, {"b-00002-of-00002.gguf", {bytes}}});
  const std::string text = failure(hub, ErrorKind::invalid_argument, "hf:o/r");
  expect_in(text, "2 models");
  expect_in(text, "hf:o/r/a.gguf");
  expect_in(text, "hf:o/r/b-00001-of-00002.gguf");
  FakeHub none({{"pytorch_model.bin", {bytes}}});
  failure(none, ErrorKind::unsupported, "hf:o/r");
}

TEST_F(HfTest, SplitModels) {
  FakeHub hub({{"b-00001-of-00003.gguf", {model_bytes(10'000, 1)}},
               {"b-00002-of-00003.gguf", {model_bytes(20'000, 2)}},
               {"b-00003-of-00003.gguf", {model_bytes(30'000, 3)}}});
  Hub mine(options(hub));
  std::atomic<bool> broken{true};
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    if (!broken || request.target.find("00003-of") == std::string::npos) return false;
    stream.answer(404, "", "");
    return true;
  };
  failure(hub, ErrorKind::network, "hf:o/r/b-00001-of-00003.gguf");
  EXPECT_FALSE(mine.find("hf:o/r/b-00001-of-00003.gguf"));
  EXPECT_TRUE(mine.list().empty());
  broken = false;
  const auto path = mine.pull("hf:o/r/b-00001-of-00003.gguf");
  for (int i = 1; i <= 3; ++i) {
    const std::string name = fmt::format("b-0000{}-of-00003.gguf", i);
    EXPECT_EQ(read_file(path.parent_path() / name), hub.files[name].bytes);
  }
  EXPECT_EQ(mine.list().at(0).size_bytes, 60'000u);
  mine.remove("hf:o/r/b-00001-of-00003.gguf");
  EXPECT_TRUE(names_below(folder_ / "store").empty());
}

TEST_F(HfTest, HostileListings) {
  for (const char* name : {"../config.json", "a/../../m.gguf", "/etc/m.gguf", "..", "a\\\\m.gguf", "a\\nm.gguf", ""}) {
    SCOPED_TRACE(name);
    FakeHub hub({});
    hub.listing = fmt::format("{{\"sha\": \"x\", \"siblings\": [{{\"rfilename\": \"{}\"}}]}}", name);
    expect_in(failure(hub, ErrorKind::network, "hf:o/r"), "leaves its folder");
  }
  for (const char* listing : {"not json", "[]", "{}", "{\"siblings\": 3}", "{\"siblings\": [1]}",
                              "{\"siblings\": [{\"rfilename\": 1}]}", "{\"siblings\": [{}]}"}) {
    SCOPED_TRACE(listing);
    FakeHub hub({});
    hub.listing = listing;
    failure(hub, ErrorKind::network, "hf:o/r");
  }
  FakeHub deep({});
  deep.listing = std::string(1'000'000, '[');
  failure(deep, ErrorKind::network, "hf:o/r");
  FakeHub long_one({});
  long_one.listing = std::string((16u << 20) + 1, ' ');
  expect_in(failure(long_one, ErrorKind::network, "hf:o/r"), "longer than");
  FakeHub huge({{"config.json", {"{}", false}}, {"model.safetensors", {bytes}}});
  huge.listing =
      R"({"siblings": [{"rfilename": "config.json", "size": 18446744073709551615}, {"rfilename": "model.safetensors", "size": 2}]})";
  expect_in(failure(huge, ErrorKind::invalid_file, "hf:o/r"), "overflows");
}

TEST_F(HfTest, UnknownRepositories) {
  FakeHub hub({});
  expect_in(failure(hub, ErrorKind::not_found, "hf:nobody/nothing"), "no such repository");
  expect_in(failure(hub, ErrorKind::not_found, "hf:o/r/none.gguf"), "no file none.gguf");
  expect_in(failure(hub, ErrorKind::not_found, "hf:o/r/m.gguf@v9"), "no revision");
  HubOptions bad = options(hub);
  bad.hf_endpoint = "ftp://x";
  error_of(ErrorKind::invalid_argument, [&] { Hub(bad).pull("hf:o/r/m.gguf"); });
}

// ---- the user

TEST_F(HfTest, StoppedAndContinued) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_cdn = [&](const ServerRequest& request, ServerStream& stream) {
    if (range_start(request) > 0) return false;
    stream.send(RangeAnswer(request, bytes, "").head + bytes.substr(0, 150'000));
    stream.sleep_ms(5000);
    return true;
  };
  const auto start = std::chrono::steady_clock::now();
  error_of(ErrorKind::cancelled, [&] {
    Hub(options(hub)).pull("hf:o/r/m.gguf", [](auto, std::uint64_t done, auto) { return done < 150'000; });
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  EXPECT_EQ(pulled(hub), bytes);
  EXPECT_EQ(hub.cdn_bytes, 150'000u);
}

TEST_F(HfTest, StoppedWhileWaitingToTryAgain) {
  FakeHub hub({});
  hub.on_hub = [&](const ServerRequest&, ServerStream& stream) {
    stream.answer(429, "Retry-After: 60\r\n", "");
    return true;
  };
  const auto start = std::chrono::steady_clock::now();
  error_of(ErrorKind::cancelled, [&] {
    Hub(options(hub)).pull("hf:o/r/m.gguf", [&](auto, auto, auto) {
      return std::chrono::steady_clock::now() - start < std::chrono::milliseconds(500);
    });
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(HfTest, ThreadsPullOnce) {
  FakeHub hub({{"m.gguf", {bytes}}});
  hub.on_cdn = [&](const ServerRequest&, ServerStream& stream) {
    stream.sleep_ms(300);
    return false;
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { EXPECT_EQ(pulled(hub), bytes); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(hub.cdn_bytes, bytes.size());
  EXPECT_GE(notices_.size(), 3u);
}

// ---- retry hints

TEST(RetryAfter, Forms) {
  EXPECT_EQ(retry_after_ms({{"Retry-After", "7"}}), 7000);
  EXPECT_EQ(retry_after_ms({{"Retry-After", "Wed, 21 Oct 2015 07:28:00 GMT"}}), 0);
  EXPECT_EQ(retry_after_ms({{"ratelimit", "\"api\";r=0;t=55"}}), 55000);
  EXPECT_EQ(retry_after_ms({{"Retry-After", "99999999999999999"}}), 1'000'000'000);
  for (const char* bad : {"", "-1", "soon", "1.5", "99999999999999999999999"})
    EXPECT_EQ(retry_after_ms({{"Retry-After", bad}}), std::nullopt) << bad;
  EXPECT_EQ(retry_after_ms({}), std::nullopt);
}

}  // namespace
}  // namespace moebox::test
