#include "base/log.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>

#include <unistd.h>

namespace moebox {
namespace {

std::atomic<LogLevel> active_level{LogLevel::info};
std::atomic<LogFormat> active_format{LogFormat::text};

constexpr const char* level_names[] = {"debug", "info", "warning", "error"};

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", byte);
      out += escaped;
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_value(std::string& out, const LogField& field) {
  if (const auto* text = std::get_if<std::string_view>(&field.value)) return append_quoted(out, *text);
  if (const auto* flag = std::get_if<bool>(&field.value)) {
    out += *flag ? "true" : "false";
    return;
  }
  if (const auto* number = std::get_if<long long>(&field.value)) {
    out += std::to_string(*number);
    return;
  }
  const double value = std::get<double>(field.value);
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  out += std::isfinite(value) ? text : "null";
}

std::string timestamp() {
  const auto now = std::chrono::system_clock::now();
  const auto seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char date[32], text[40];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text, sizeof text, "%s.%03dZ", date, static_cast<int>(ms));
  return text;
}

}  // namespace

void configure_log(LogLevel level, LogFormat format) {
  active_level = level;
  active_format = format;
}

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (level == LogLevel::off || level < active_level.load(std::memory_order_relaxed)) return;
  const char* level_name = level_names[static_cast<int>(level)];
  std::string line;
  if (active_format.load(std::memory_order_relaxed) == LogFormat::json) {
    line = "{\"time\":\"" + timestamp() + "\",\"level\":\"" + level_name + "\",\"event\":";
    append_quoted(line, event);
    for (const LogField& field : fields) {
      line += ',';
      append_quoted(line, field.key);
      line += ':';
      append_value(line, field);
    }
    line += "}\n";
  } else {
    line = timestamp() + " " + level_name + " " + std::string(event);
    for (const LogField& field : fields) {
      line += ' ';
      line += field.key;
      line += '=';
      append_value(line, field);
    }
    line += '\n';
  }
  // One write a line: lines of several threads and processes do not mix.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace moebox
