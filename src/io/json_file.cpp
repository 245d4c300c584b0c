#include "io/json_file.h"

#include <set>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"
#include "io/mapped_file.h"
#include "io/quote.h"

namespace moebox {
namespace {

constexpr int max_depth = 64;

/// Watches the parser: depth, and the keys of every object that is open.
class Guard {
 public:
  explicit Guard(const std::string& where) : where_(where) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, const nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= max_depth) {
      throw Error(ErrorKind::invalid_file, fmt::format("JSON may be nested {} deep at most", max_depth), where_);
    }
    if (event == Event::object_start) open_.emplace_back();
    if (event == Event::object_end) open_.pop_back();
    if (event == Event::key && !open_.back().insert(parsed.get_ref<const std::string&>()).second) {
      throw Error(ErrorKind::invalid_file,
                  "the key " + quote(parsed.get_ref<const std::string&>()) + " occurs twice in an object", where_,
                  "readers would disagree on its value: remove one");
    }
    return true;
  }

 private:
  const std::string& where_;
  std::vector<std::set<std::string>> open_;
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  Guard guard(where);
  try {
    return nlohmann::json::parse(
        text, [&](int depth, auto event, const nlohmann::json& parsed) { return guard(depth, event, parsed); });
  } catch (const nlohmann::json::parse_error& error) {
    throw Error(ErrorKind::invalid_file, fmt::format("not valid JSON at byte {}", error.byte), where,
                "the file is cut short or damaged: fetch it again");
  } catch (const nlohmann::json::exception&) {  // a number beyond the range of double
    throw Error(ErrorKind::invalid_file, "a number in the JSON is out of range", where);
  }
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
