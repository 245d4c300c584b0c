#include "chat/stop_matcher.h"

#include <algorithm>

#include "base/error.h"

namespace moebox {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)), nodes_(1) {
  for (std::size_t i = 0; i < stops_.size(); ++i) {
    if (stops_[i].empty()) throw Error(ErrorKind::invalid_argument, "a stop string is empty", "stop");
    std::uint32_t at = 0;
    for (const char c : stops_[i]) {
      const auto byte = static_cast<unsigned char>(c);
      std::uint32_t next = child(at, byte);
      if (next == 0) {
        next = static_cast<std::uint32_t>(nodes_.size());
        auto& children = nodes_[at].children;
        children.insert(
            std::lower_bound(children.begin(), children.end(), std::pair<unsigned char, std::uint32_t>(byte, 0)),
            {byte, next});
        nodes_.push_back({{}, 0, nodes_[at].depth + 1, -1});
      }
      at = next;
    }
    nodes_[at].stop = static_cast<std::int32_t>(i);
  }
  link();
}

std::uint32_t StopMatcher::child(std::uint32_t node, unsigned char byte) const {
  const auto& children = nodes_[node].children;
  const auto found =
      std::lower_bound(children.begin(), children.end(), std::pair<unsigned char, std::uint32_t>(byte, 0));
  return found != children.end() && found->first == byte ? found->second : 0;
}

void StopMatcher::link() {
  std::vector<std::uint32_t> order{0};
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::uint32_t parent = order[i];
    for (const auto& [byte, node] : nodes_[parent].children) {
      order.push_back(node);
      if (parent == 0) continue;
      std::uint32_t at = nodes_[parent].fallback;
      while (at != 0 && child(at, byte) == 0) at = nodes_[at].fallback;
      nodes_[node].fallback = child(at, byte);
      if (nodes_[node].stop < 0) nodes_[node].stop = nodes_[nodes_[node].fallback].stop;
    }
  }
}

std::size_t StopMatcher::take(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size() && matched_ == nullptr; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    std::uint32_t next = child(state_, byte);
    while (next == 0 && state_ != 0) {
      state_ = nodes_[state_].fallback;
      next = child(state_, byte);
    }
    state_ = next;
    if (nodes_[state_].stop >= 0) {
      matched_ = &stops_[static_cast<std::size_t>(nodes_[state_].stop)];
      return i + 1;
    }
  }
  return matched_ == nullptr ? bytes.size() : 0;
}

}  // namespace moebox
