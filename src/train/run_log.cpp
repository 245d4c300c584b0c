#include "train/run_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "base/anonymous_memory.h"
#include "base/error.h"

namespace moebox::train {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no infinities and no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

Json step_content(const StepReport& report) {
  Json line = {{"step", report.step},
               {"tokens", report.n_tokens},
               {"targets", report.n_targets},
               {"loss", number(report.loss)},
               {"cross_entropy", number(report.cross_entropy)},
               {"gradient_norm", number(report.gradient_norm)},
               {"learning_rate", report.learning_rate}};
  if (report.skipped) line["skipped"] = true;
  if (!report.further.empty()) {
    line["further"] = Json::array();
    for (const double value : report.further) line["further"].push_back(number(value));
  }
  if (!report.loads.empty()) {
    line["balance"] = number(report.balance);
    line["z"] = number(report.z);
    line["load"] = Json::object();
    for (const LayerLoad& load : report.loads) line["load"][std::to_string(load.layer)] = load.tokens;
  }
  return line;
}

LogPosition walk_log(const std::filesystem::path& file, std::int64_t last_step,
                     const std::function<void(const Json&, const std::string&)>& see) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(ErrorKind::not_found, "there is no log", file.string());
  LogPosition end;
  std::string text;
  while (end.step < last_step && std::getline(in, text)) {
    const auto refuse = [&](const std::string& what) {
      throw Error(ErrorKind::invalid_file, what, file.string() + ":" + std::to_string(end.step + 2),
                  "from this line on it is not what the run wrote");
    };
    const Json line = in.eof() ? Json() : report::parse_line(text);
    if (!line.is_object() || !line.contains("chain")) refuse("expected a whole line of a log with links");
    const Json link = line["chain"];
    const Json content = report::content_of(line);
    if (end.step < 0 ? !content.contains("moebox_train") : content.value("step", Json()) != end.step + 1)
      refuse(end.step < 0 ? "expected the line that begins a log"
                          : "expected the line of step " + std::to_string(end.step + 1));
    if (link != next_link(end.link, content)) refuse("the line does not fit its link, or those before it");
    end = {end.step + 1, link.get<std::string>(), end.bytes + text.size() + 1};
    if (see) see(content, end.link);
  }
  return end;
}

RunLog::RunLog(const std::filesystem::path& file, const Json& head, bool has_events)
    : file_(file), out_(file, std::ios::trunc) {
  write_line(head, head);
  begin_events(1, has_events);
}

RunLog::RunLog(const std::filesystem::path& file, const LogPosition& end, bool has_events)
    : file_(file), link_(end.link) {
  std::error_code error;
  std::filesystem::resize_file(file, end.bytes, error);
  if (error) throw Error(ErrorKind::io, error.message(), file.string());
  out_.open(file, std::ios::app);
  begin_events(end.step + 1, has_events);
}

void RunLog::begin_events(std::int64_t first_step, bool wanted) {
  const std::filesystem::path folder = file_.has_parent_path() ? file_.parent_path() : ".";
  if (wanted) events_.emplace(folder, first_step);
}

void RunLog::write(const Json& content, double seconds) {
  Json line = content;
  line["seconds"] = seconds;
  line["resident_bytes"] = resident_memory_bytes();
  line["peak_bytes"] = peak_resident_memory_bytes();
  write_line(line, content);
  if (events_) events_->add(report::read_step(line, file_.string()));
}

void RunLog::make_durable(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const bool done = fd >= 0 && ::fdatasync(fd) == 0;
  const int problem = errno;
  if (fd >= 0) ::close(fd);
  if (!done) throw Error(ErrorKind::io, std::strerror(problem), file.string());
}

void RunLog::write_line(Json line, const Json& content) {
  link_ = next_link(link_, content);
  line["chain"] = link_;
  out_ << line.dump() << '\n' << std::flush;
  if (!out_) throw Error(ErrorKind::io, std::strerror(errno), file_.string());
}

}  // namespace moebox::train
