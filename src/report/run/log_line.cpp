#include "report/run/log_line.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <optional>
#include <utility>

#include "base/error.h"
#include "data/digest.h"

namespace moebox::report {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t max_line_bytes = std::size_t{16} << 20;
constexpr int max_line_depth = 64;
/// Of all layers together: what a report can hold over time.
constexpr std::size_t max_experts_of_a_line = 1 << 16;

bool is_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '[' || c == '{')) {
      if (++depth > max_line_depth) return true;
    } else if (!in_string && (c == ']' || c == '}')) {
      --depth;
    }
  }
  return false;
}

[[noreturn]] void refuse_key(const std::string& where, std::string_view key, std::string_view expected) {
  throw Error(ErrorKind::invalid_file, "expected " + std::string(expected) + " as '" + std::string(key) + "'", where,
              "this line is not what a run writes");
}

/// A number of things; no value where it is none. Numbers of a line that was never text have a sign.
std::optional<std::int64_t> count_of_things(const Json& value) {
  constexpr std::int64_t most = std::int64_t{1} << 53;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(most)) return {};
  if (!value.is_number_integer()) return {};
  const auto count = value.get<std::int64_t>();
  return count >= 0 && count <= most ? std::optional(count) : std::nullopt;
}

std::int64_t count_at(const Json& line, const char* key, const std::string& where) {
  if (!line.contains(key)) return 0;
  const auto count = count_of_things(line[key]);
  if (!count) refuse_key(where, key, "a number of things");
  return *count;
}

double number_of(const Json& value, std::string_view key, const std::string& where) {
  if (value.is_null()) return NAN;
  if (!value.is_number()) refuse_key(where, key, "a number");
  return value.get<double>();
}

double number_at(const Json& line, const char* key, const std::string& where) {
  return line.contains(key) ? number_of(line[key], key, where) : NAN;
}

std::vector<LayerTokens> loads_of(const Json& load, const std::string& where) {
  if (!load.is_object()) refuse_key(where, "load", "layers and their experts' tokens");
  std::vector<LayerTokens> layers;
  std::size_t n_experts = 0;
  for (const auto& [name, tokens] : load.items()) {
    LayerTokens layer;
    const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), layer.layer);
    const bool is_layer = problem == std::errc() && end == name.data() + name.size() && layer.layer >= 0;
    n_experts += tokens.size();
    if (!is_layer || !tokens.is_array() || tokens.empty() || n_experts > max_experts_of_a_line)
      refuse_key(where, "load", "layers and their experts' tokens");
    for (const Json& value : tokens) {
      const auto count = count_of_things(value);
      if (!count) refuse_key(where, "load", "numbers of tokens");
      layer.tokens.push_back(*count);
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

/// Lines of a file that may be growing.
class LineReader {
 public:
  explicit LineReader(const std::filesystem::path& file) : file_(file.string()), in_(file, std::ios::binary) {
    if (!in_) throw Error(ErrorKind::not_found, std::strerror(errno), file_);
  }

  /// False at the end; what stands behind the last line end is then in `line`.
  bool next(std::string& line) {
    line.clear();
    for (;;) {
      const char* begin = buffer_.data() + at_;
      const void* found = std::memchr(begin, '\n', size_ - at_);
      const std::size_t n =
          found != nullptr ? static_cast<std::size_t>(static_cast<const char*>(found) - begin) : size_ - at_;
      line.append(begin, n);
      at_ += n;
      if (line.size() > max_line_bytes)
        throw Error(ErrorKind::invalid_file, "expected lines of at most 16 MiB, found a longer one", file_,
                    "this file is not a run's log");
      if (found != nullptr) {
        ++at_;
        return true;
      }
      in_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
      if (in_.bad()) throw Error(ErrorKind::io, "cannot be read", file_);
      size_ = static_cast<std::size_t>(in_.gcount());
      at_ = 0;
      if (size_ == 0) return false;
    }
  }

 private:
  const std::string file_;
  std::ifstream in_;
  std::string buffer_ = std::string(std::size_t{1} << 18, '\0');
  std::size_t at_ = 0, size_ = 0;
};

}  // namespace

Json parse_line(std::string_view text) {
  if (is_too_deep(text)) return nullptr;
  Json line = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  return line.is_object() ? line : Json();
}

Json content_of(Json line) {
  for (const char* key : {"chain", "seconds", "resident_bytes", "peak_bytes"}) line.erase(key);
  return line;
}

std::string next_link(const std::string& link, const Json& content) {
  return data::hex(data::Hasher().add(link).add(content.dump()).finish());
}

LoadBalance balance_of(const std::vector<LayerTokens>& loads) {
  LoadBalance balance;
  for (const LayerTokens& layer : loads) {
    double sum = 0;
    for (const std::int64_t tokens : layer.tokens) sum += static_cast<double>(tokens);
    if (sum == 0) continue;
    const double mean = sum / static_cast<double>(layer.tokens.size());
    const auto most = static_cast<double>(*std::ranges::max_element(layer.tokens));
    balance.busiest = std::max(balance.busiest, most / mean);
    balance.n_idle += std::ranges::count(layer.tokens, 0);
    balance.n_experts += static_cast<std::int64_t>(layer.tokens.size());
  }
  return balance;
}

LoggedStep read_step(const Json& line, const std::string& where) {
  LoggedStep step;
  step.step = count_at(line, "step", where);
  step.n_tokens = count_at(line, "tokens", where);
  step.n_targets = count_at(line, "targets", where);
  step.left_out = count_at(line, "left_out", where);
  step.resident_bytes = count_at(line, "resident_bytes", where);
  step.peak_bytes = count_at(line, "peak_bytes", where);
  step.loss = number_at(line, "loss", where);
  step.cross_entropy = number_at(line, "cross_entropy", where);
  step.balance = number_at(line, "balance", where);
  step.z = number_at(line, "z", where);
  step.gradient_norm = number_at(line, "gradient_norm", where);
  step.learning_rate = number_at(line, "learning_rate", where);
  step.seconds = number_at(line, "seconds", where);
  if (line.contains("skipped")) {
    if (!line["skipped"].is_boolean()) refuse_key(where, "skipped", "true or false");
    step.skipped = line["skipped"];
  }
  if (line.contains("further")) {
    if (!line["further"].is_array() || line["further"].size() > 64) refuse_key(where, "further", "a list of losses");
    for (const Json& value : line["further"]) step.further.push_back(number_of(value, "further", where));
  }
  if (line.contains("load")) step.loads = loads_of(line["load"], where);
  return step;
}

LogEnd read_log(const std::filesystem::path& file, const std::function<void(const Json&)>& see_head,
                const std::function<void(const LoggedStep&)>& see_step) {
  LineReader lines(file);
  LogEnd end;
  std::string text, link;
  for (std::int64_t number = 1; lines.next(text); ++number) {
    const std::string where = file.string() + ":" + std::to_string(number);
    const Json line = parse_line(text);
    const bool has_link = line.is_object() && line.contains("chain") && line["chain"].is_string();
    if (!has_link)
      throw Error(ErrorKind::invalid_file, "expected a JSON object with a link of the chain, found another line", where,
                  "from this line on it is not what the run wrote");
    const Json content = content_of(line);
    end.link = line["chain"].get<std::string>();
    link = next_link(link, content);
    if (end.link != link && end.first_wrong_link == 0) end.first_wrong_link = number;
    if (number == 1) {
      if (!content.contains("moebox_train"))
        throw Error(ErrorKind::invalid_file, "expected the line that begins a run's log", where);
      see_head(content);
      continue;
    }
    const LoggedStep step = read_step(line, where);
    if (step.step != number - 1)
      throw Error(ErrorKind::invalid_file,
                  "expected the line of step " + std::to_string(number - 1) + ", found that of step " +
                      std::to_string(step.step),
                  where, "from this line on it is not what the run wrote");
    see_step(step);
    end.n_steps = step.step;
  }
  end.cut_bytes = static_cast<std::int64_t>(text.size());
  if (end.link.empty())
    throw Error(ErrorKind::invalid_file, "the log has no whole line yet", file.string(), "wait for the first step");
  return end;
}

}  // namespace moebox::report
