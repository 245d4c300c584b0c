// Server-sent events (WHATWG HTML, section 9.2): only what an OpenAI stream needs.
#pragma once

#include <string>
#include <string_view>

namespace moebox {

/// One event. `data` is one line: JSON without line breaks.
inline std::string sse_event(std::string_view data) {
  std::string event;
  event.reserve(data.size() + 8);
  event += "data: ";
  event += data;
  event += "\n\n";
  return event;
}

/// A comment, which clients pass over: it keeps the connection alive and shows a vanished peer.
inline std::string sse_ping() { return ": ping\n\n"; }

inline std::string sse_done() { return "data: [DONE]\n\n"; }

}  // namespace moebox
