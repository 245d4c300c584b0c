// What a page and a model card both say of a run, as words and numbers that are not markup yet.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "report/run/run_summary.h"

namespace moebox::report {

struct Fact {
  std::string english, chinese, value;
};

/// Steps, losses, speed, memory, experts: what a reader looks for first.
std::vector<Fact> key_facts(const RunSummary& run);
/// The log's first line but for the model's configuration: "learning_rate" -> "0.001".
std::vector<std::pair<std::string, std::string>> hyper_parameters(const RunSummary& run);

struct DataDomain {
  std::string name, level, weight, documents, tokens;
  std::string sources;  // files of the domain, licences and origins, as the data set's recipe named them
};
/// Of the data set, where it could be read.
std::vector<DataDomain> data_domains(const RunSummary& run);
/// Languages of at least a hundredth of the documents, the most frequent first: "en".
std::vector<std::string> languages_of(const RunSummary& run);

/// "1:07:30", "2:05", "8.2 s".
std::string time_text(double seconds);

}  // namespace moebox::report
