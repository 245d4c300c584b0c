// What a client may send: a body for each endpoint, or the raw bytes of a connection. The first byte chooses.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/http_parser.h"
#include "server/request.h"
#include "server/router.h"

namespace {

using namespace moebox;

/// A body gives a request, or a refusal that is itself well formed.
void parse_body(Endpoint endpoint, std::string_view body, const ServerLimits& limits) {
  try {
    const ApiRequest request = parse_api_request(endpoint, body, limits);
    if (request.n < 1 || static_cast<int>(request.prompts.size()) > limits.choices) std::abort();
    if (endpoint == Endpoint::chat && request.messages.empty()) std::abort();
  } catch (const ApiException& refusal) {
    if (refusal.error().status != 400 || refusal.error().body().empty()) std::abort();
  }
}

constexpr int waiting = 0;

struct Outcome {
  std::string requests;  // complete ones, one after the other
  int status;            // of the refusal; `waiting` where more bytes could follow
};

/// Requests fed in pieces of `piece` bytes; the pieces must not matter.
Outcome parse_stream(std::string_view bytes, std::size_t piece, const ServerLimits& limits) {
  std::string seen, buffer;
  HttpParser parser(limits);
  for (int n_requests = 0; n_requests < 20;) {
    const auto state = parser.state();
    if (state == HttpParser::State::failed) return {seen, parser.error().status};
    if (state == HttpParser::State::header_done) {
      find_route(parser.request().method, parser.request().path);
      parser.read_body();
      continue;
    }
    if (state == HttpParser::State::done) {
      seen += parser.request().method + " " + parser.request().path + " " + parser.request().body + "\n";
      parser = HttpParser(limits);
      ++n_requests;
      continue;
    }
    const std::size_t n = buffer.empty() ? 0 : parser.feed(buffer);
    if (n > buffer.size()) std::abort();
    buffer.erase(0, n);
    if (parser.state() != state) continue;
    if (bytes.empty()) break;
    buffer.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  return {seen, waiting};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  ServerLimits limits;
  limits.body_bytes = 4096;
  limits.header_bytes = 1024;
  limits.json_values = 10'000;
  constexpr Endpoint endpoints[] = {Endpoint::chat, Endpoint::completions, Endpoint::tokenize, Endpoint::detokenize};
  const unsigned choice = data[0] % 8;
  if (choice < 6) {
    parse_body(endpoints[choice % 4], rest, limits);
    return 0;
  }
  const Outcome whole = parse_stream(rest, rest.size() + 1, limits);
  const Outcome pieces = parse_stream(rest, choice == 6 ? 1 : 3, limits);
  // Where a stream ends in the middle of a bad line, one may have seen that already and the other still wait for its
  // end.
  const bool one_waits = whole.status == waiting || pieces.status == waiting;
  if (whole.requests != pieces.requests || (whole.status != pieces.status && !one_waits)) std::abort();
  return 0;
}
