#include "train/run_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace moebox::train {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no infinities and no NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

RunLog::RunLog(const std::filesystem::path& file, const Json& head) : file_(file), out_(file, std::ios::app) {
  write_line(head);
}

void RunLog::write(const StepReport& report, double seconds) {
  Json line = {{"step", report.step},
               {"tokens", report.n_tokens},
               {"targets", report.n_targets},
               {"loss", number(report.loss)},
               {"cross_entropy", number(report.cross_entropy)},
               {"gradient_norm", number(report.gradient_norm)},
               {"learning_rate", report.learning_rate},
               {"seconds", seconds}};
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
  write_line(line);
}

void RunLog::write_line(const Json& line) {
  out_ << line.dump() << '\n' << std::flush;
  if (!out_) throw Error(ErrorKind::io, std::strerror(errno), file_.string());
}

}  // namespace moebox::train
