// An event-driven reader of tokenizer.json.
#include "tokenizer/tokenizer_json.h"

#include <string>
#include <utility>

#include <fmt/core.h>

#include "base/error.h"
#include "base/json_problem.h"

namespace moebox {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxValues = 4u << 20;  // outside of the vocabulary and the merges

/// Builds a tree from events, with limits; "model.vocab" and "model.merges" go to lists when there is somewhere to put
/// them.
class Reader final : public nlohmann::json_sax<json> {
 public:
  Reader(std::string where, TokenizerJson* lists) : where_(std::move(where)), lists_(lists) {}

  json take() { return std::move(root_); }

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return number(value, static_cast<double>(value), value); }
  bool number_unsigned(number_unsigned_t value) override {
    // What does not fit becomes negative, which no id may be.
    return number(value, static_cast<double>(value),
                  value > 0x7FFFFFFFFFFFFFFFu ? -1 : static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return number(value, value, -1); }
  bool binary(binary_t&) override { return false; }

  bool string(string_t& value) override {
    switch (mode_) {
      case Mode::tree:
        return scalar(std::move(value));
      case Mode::pieces:
      case Mode::ids:
        fail("a list of pairs or an object with numbers", "a string");
      case Mode::piece:
        if (part_++ != 0) fail("a text and a score", "two texts");
        lists_->texts.push_back(value);
        return true;
      case Mode::merges: {
        if (value.starts_with("#version")) return true;
        const std::size_t space = value.find(' ');
        if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos)
          fail("two tokens and one space", "'" + value + "'");
        lists_->merges.push_back(std::string_view(value).substr(0, space));
        lists_->merges.push_back(std::string_view(value).substr(space + 1));
        return check_merges();
      }
      case Mode::merge:
        if (part_++ >= 2) fail("two tokens", "more");
        lists_->merges.push_back(value);
        return true;
    }
    return false;
  }

  bool key(string_t& value) override {
    if (mode_ == Mode::ids) {
      lists_->texts.push_back(value);
      if (lists_->texts.size() > limits::kTokens) too_many("tokens", limits::kTokens);
      return true;
    }
    if (open_.back()->contains(value)) {
      throw Error(ErrorKind::invalid_file, fmt::format("an object has the key '{}' twice", value.substr(0, 100)),
                  where_, "programs would disagree on which one counts: get the file from its author");
    }
    key_ = std::move(value);
    return true;
  }

  bool start_object(std::size_t) override {
    if (mode_ != Mode::tree) fail("strings and numbers", "an object");
    if (is_list("vocab")) {
      mode_ = Mode::ids;
      return true;
    }
    return open(json::object());
  }
  bool end_object() override {
    if (mode_ == Mode::ids) {
      mode_ = Mode::tree;
      if (lists_->ids.size() != lists_->texts.size()) fail("a number for each token", "something else");
      return true;
    }
    open_.pop_back();
    return true;
  }
  bool start_array(std::size_t) override {
    if (mode_ == Mode::pieces || mode_ == Mode::merges) {
      mode_ = mode_ == Mode::pieces ? Mode::piece : Mode::merge;
      part_ = 0;
      return true;
    }
    if (mode_ != Mode::tree) fail("strings and numbers", "a list");
    if (is_list("vocab")) {
      mode_ = Mode::pieces;
      return true;
    }
    if (is_list("merges")) {
      mode_ = Mode::merges;
      return true;
    }
    return open(json::array());
  }
  bool end_array() override {
    switch (mode_) {
      case Mode::piece:
        if (part_ != 2) fail("a text and a score", "fewer");
        if (lists_->texts.size() > limits::kTokens) too_many("tokens", limits::kTokens);
        mode_ = Mode::pieces;
        return true;
      case Mode::merge:
        if (part_ != 2) fail("two tokens", "fewer");
        mode_ = Mode::merges;
        return check_merges();
      case Mode::pieces:
      case Mode::merges:
        mode_ = Mode::tree;
        return true;
      default:
        open_.pop_back();
        return true;
    }
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception& error) override {
    throw Error(ErrorKind::invalid_file,
                fmt::format("expected JSON, found something else at byte {}: {}", position, json_problem(error.what())),
                where_, "the file is damaged or not what its name says");
  }

 private:
  enum class Mode {
    tree,
    ids,     // in model.vocab of a BPE: text to id
    pieces,  // in model.vocab of a unigram model: pairs
    piece,   // in a pair
    merges,  // in model.merges
    merge,   // in a pair
  };

  /// Is the value that begins now the list model.`name`? It may come once.
  bool is_list(std::string_view name) {
    if (lists_ == nullptr || open_.size() != 2 || model_ != open_.back() || key_ != name) return false;
    bool& seen = name == "vocab" ? lists_->has_vocabulary : has_merges_;
    if (std::exchange(seen, true))
      throw Error(ErrorKind::invalid_file, fmt::format("the model has '{}' twice", name), where_);
    return true;
  }

  template <class Value>
  bool number(Value value, double real, std::int64_t whole) {
    switch (mode_) {
      case Mode::tree:
        return scalar(value);
      case Mode::ids:
        lists_->ids.push_back(whole);
        return true;
      case Mode::piece:
        if (part_++ != 1) fail("a text and a score", "a number elsewhere");
        lists_->scores.push_back(real);
        return true;
      default:
        fail("strings", "a number");
    }
  }

  template <class Value>
  bool scalar(Value&& value) {
    if (mode_ != Mode::tree) fail("strings and numbers", "null, true or false");
    put(json(std::forward<Value>(value)));
    return true;
  }

  bool open(json value) {
    if (open_.size() >= kMaxDepth)
      throw Error(ErrorKind::resource, fmt::format("values are nested deeper than {}", kMaxDepth), where_);
    const bool is_model = open_.size() == 1 && open_.back()->is_object() && key_ == "model";
    json* placed = put(std::move(value));
    if (is_model) model_ = placed;
    open_.push_back(placed);
    return true;
  }

  json* put(json value) {
    if (++values_ > kMaxValues) too_many("values", kMaxValues);
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  bool check_merges() {
    if (lists_->merges.size() / 2 > limits::kMerges) too_many("merges", limits::kMerges);
    return true;
  }

  [[noreturn]] void fail(std::string_view expected, std::string_view found) const {
    throw Error(
        ErrorKind::invalid_file, fmt::format("expected {}, found {}", expected, found.substr(0, 200)),
        fmt::format("{}: model.{}", where_, mode_ == Mode::merges || mode_ == Mode::merge ? "merges" : "vocab"));
  }
  [[noreturn]] void too_many(std::string_view what, std::size_t limit) const {
    throw Error(ErrorKind::resource, fmt::format("the file has more than {} {}", limit, what), where_);
  }

  std::string where_;
  TokenizerJson* lists_;  // may be null: then everything is a tree
  Mode mode_ = Mode::tree;
  int part_ = 0;
  bool has_merges_ = false;
  json root_;
  json* model_ = nullptr;
  std::vector<json*> open_;  // a list is complete before its parent grows, so that these stay valid
  std::string key_;
  std::size_t values_ = 0;
};

json read(std::string_view text, std::string where, TokenizerJson* lists) {
  if (text.size() > limits::kFileBytes) {
    throw Error(ErrorKind::resource,
                fmt::format("the file has {} bytes; at most {} are accepted", text.size(), limits::kFileBytes), where);
  }
  Reader reader(where, lists);
  json::sax_parse(text, &reader);
  json document = reader.take();
  if (!document.is_object()) throw Error(ErrorKind::invalid_file, "expected a JSON object", where);
  return document;
}

}  // namespace

TokenizerJson read_tokenizer_json(std::string_view text) {
  TokenizerJson out;
  out.document = read(text, "tokenizer.json", &out);
  return out;
}

nlohmann::json read_json(std::string_view text, std::string_view where) {
  return read(text, std::string(where), nullptr);
}

}  // namespace moebox
