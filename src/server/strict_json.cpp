#include "server/strict_json.h"

#include <string>
#include <unordered_set>
#include <vector>

#include "server/api_error.h"

namespace moebox {
namespace {

/// Receives the parser's events and builds the document; refuses what parse_strict_json promises to refuse.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(Json& root, const JsonLimits& limits) : root_(root), limits_(limits) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    // The document looks keys up one by one; a set of our own keeps an object of many keys from taking forever.
    if (!names_.back().insert(name).second) {
      throw ApiException(bad_request("The key '" + name + "' occurs twice in one object.", path(name)));
    }
    keys_.back() = name;
    auto& members = open_.back()->get_ref<Json::object_t&>();
    static_cast<std::vector<Json::object_t::value_type>&>(members).emplace_back(name, nullptr);
    slot_ = &members.back().second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    const std::string_view reason = error.what();
    std::string message = "The body is not valid JSON: ";
    if (reason.find("ill-formed UTF-8") != std::string_view::npos) {
      message = "The body is not valid UTF-8";
    } else if (reason.find("out_of_range.406") != std::string_view::npos ||
               reason.find("number overflow") != std::string_view::npos) {
      message = "A number is out of range";
    } else if (reason.find("unexpected end of input") != std::string_view::npos) {
      message += "it ends too early";
    } else if (reason.find("surrogate") != std::string_view::npos) {
      message += "half of a surrogate pair";
    } else {
      message += "syntax error";
    }
    throw ApiException(bad_request(message + " (byte " + std::to_string(position) + ").", path({})));
  }

 private:
  template <class Value>
  Json* place(Value&& value) {
    if (++n_values_ > limits_.values) {
      throw ApiException(
          bad_request("The body has more than " + std::to_string(limits_.values) + " values.", path({})));
    }
    if (open_.empty()) {
      root_ = std::forward<Value>(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::forward<Value>(value));
      return &open_.back()->back();
    }
    *slot_ = std::forward<Value>(value);
    return slot_;
  }

  template <class Value>
  bool add(Value&& value) {
    place(std::forward<Value>(value));
    return true;
  }

  bool open(Json container) {
    if (static_cast<int>(open_.size()) >= limits_.depth) {
      throw ApiException(
          bad_request("The body is nested deeper than " + std::to_string(limits_.depth) + " levels.", path({})));
    }
    // Pointers to parents stay valid: a parent does not grow while one of its children is open.
    open_.push_back(place(std::move(container)));
    keys_.emplace_back();
    names_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    keys_.pop_back();
    names_.pop_back();
    return true;
  }

  /// The field of the document that is being read: enough of the path to find the mistake.
  std::string path(const std::string& last) const {
    if (open_.empty()) return {};
    if (open_.size() == 1) return last.empty() ? keys_.front() : last;
    return keys_.front();
  }

  Json& root_;
  const JsonLimits& limits_;
  std::vector<Json*> open_;
  std::vector<std::string> keys_;
  std::vector<std::unordered_set<std::string>> names_;
  Json* slot_ = nullptr;
  int n_values_ = 0;
};

}  // namespace

Json parse_strict_json(std::string_view text, const JsonLimits& limits) {
  Json document;
  Builder builder(document, limits);
  Json::sax_parse(text.begin(), text.end(), &builder);
  return document;
}

}  // namespace moebox
