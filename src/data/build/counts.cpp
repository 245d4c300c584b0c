#include "data/build/counts.h"

#include <algorithm>
#include <bit>

namespace moebox::data {
namespace {

using Json = nlohmann::ordered_json;

Json tally_json(const Tally& tally) { return {{"documents", tally.documents}, {"bytes", tally.bytes}}; }

Json tallies_json(const std::map<std::string, Tally>& tallies) {
  Json object = Json::object();
  for (const auto& [name, tally] : tallies) object[name] = tally_json(tally);
  return object;
}

}  // namespace

Counts& Counts::operator+=(const Counts& other) {
  read += other.read;
  kept += other.kept;
  held_out += other.held_out;
  tokens += other.tokens;
  learnt_tokens += other.learnt_tokens;
  for (const auto& [reason, tally] : other.dropped) dropped[reason] += tally;
  for (const auto& [note, count] : other.notes) notes[note] += count;
  for (const auto& [language, tally] : other.languages) languages[language] += tally;
  for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] += other.lengths[i];
  return *this;
}

void Counts::add_length(std::int64_t n_tokens) noexcept {
  const int log = std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(n_tokens, 1))) - 1;
  ++lengths[std::min<std::size_t>(static_cast<std::size_t>(log), lengths.size() - 1)];
}

Json Counts::json() const {
  Json object = {{"read", tally_json(read)},
                 {"kept", tally_json(kept)},
                 {"held_out", tally_json(held_out)},
                 {"tokens", tokens},
                 {"learnt_tokens", learnt_tokens},
                 {"dropped", tallies_json(dropped)},
                 {"notes", notes},
                 {"languages", tallies_json(languages)},
                 {"lengths", lengths}};
  return object;
}

}  // namespace moebox::data
