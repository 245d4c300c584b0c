// Structured logging to stderr: one event a line, as text or JSON. Prompt text never goes in here.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace moebox {

enum class LogLevel { debug, info, warning, error, off };
enum class LogFormat { text, json };

/// One key and value of an event.
struct LogField {
  std::string_view key;
  std::variant<std::string_view, double, long long, bool> value;

  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, double v) : key(k), value(v) {}
  LogField(std::string_view k, bool v) : key(k), value(v) {}
  template <class Int>
    requires(std::is_integral_v<Int> && !std::is_same_v<Int, bool>)
  LogField(std::string_view k, Int v) : key(k), value(static_cast<long long>(v)) {}
};

/// Sets what is written from now on. Call it once at start: the setting belongs to the process, as stderr does.
void configure_log(LogLevel level, LogFormat format);

/// Writes one line: time, level, event, fields. Thread safe; a line is never torn.
void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

}  // namespace moebox
