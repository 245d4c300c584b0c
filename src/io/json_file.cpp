#include "io/json_file.h"

#include <utility>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"
#include "io/mapped_file.h"
#include "io/quote.h"

namespace moebox {
namespace {

constexpr std::size_t max_depth = 64;

/// Builds the document out of the parser's events. Not a callback of json::parse(): that looks through an array, or an
/// object, again for every object in it.
class Builder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(nlohmann::json& root, const std::string& where) : root_(root), where_(where) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(nlohmann::json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(nlohmann::json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const auto [member, is_new] = open_.back()->emplace(name, nullptr);
    if (!is_new)
      throw Error(ErrorKind::invalid_file, "the key " + quote(name) + " occurs twice in an object", where_,
                  "readers would disagree on its value: remove one");
    value_ = &*member;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) override {
    constexpr int number_overflow = 406;  // the library's own numbers of its exceptions
    if (error.id == number_overflow)
      throw Error(ErrorKind::invalid_file, "a number in the JSON is out of range", where_);
    throw Error(ErrorKind::invalid_file, fmt::format("not valid JSON at byte {}", position), where_,
                "the file is cut short or damaged: fetch it again");
  }

 private:
  template <class Value>
  nlohmann::json* place(Value&& value) {
    if (open_.empty()) {
      root_ = std::forward<Value>(value);
      return &root_;
    }
    if (open_.back()->is_array()) return &open_.back()->emplace_back(std::forward<Value>(value));
    *value_ = std::forward<Value>(value);
    return value_;
  }
  template <class Value>
  bool add(Value&& value) {
    place(std::forward<Value>(value));
    return true;
  }
  bool open(nlohmann::json container) {
    if (open_.size() >= max_depth)
      throw Error(ErrorKind::invalid_file, fmt::format("JSON may be nested {} deep at most", max_depth), where_);
    open_.push_back(place(std::move(container)));  // a parent does not grow while one of its children is open
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  nlohmann::json& root_;
  const std::string& where_;
  std::vector<nlohmann::json*> open_;
  nlohmann::json* value_ = nullptr;  // of the key that was read last
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  nlohmann::json document;
  Builder builder(document, where);
  nlohmann::json::sax_parse(text, &builder);
  return document;
}

nlohmann::json read_json_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const MappedFile file(path);
  if (file.bytes().size() > max_bytes) {
    throw Error(ErrorKind::invalid_file,
                fmt::format("expected at most {} bytes of JSON, found {}", max_bytes, file.bytes().size()),
                path.string());
  }
  return parse_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

}  // namespace moebox
