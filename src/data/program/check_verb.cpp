// moebox data check: whether all shards of a data set are as they were written, and what they are.
#include <memory>

#include <fmt/core.h>

#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "data/dataset.h"
#include "data/program/tokenizer_file.h"
#include "data/program/verbs.h"
#include "data/tokenizer_digest.h"

namespace moebox::data {
namespace {

struct CheckRequest {
  std::string folder, split = "train", tokenizer;
  bool json = false;
};

int run_check(const cli::Context& context, const CheckRequest& request) {
  Dataset::Options options;
  options.split = request.split;
  options.n_threads = static_cast<int>(context.settings.integer("threads"));
  if (!request.tokenizer.empty())
    options.tokenizer = tokenizer_digest(*load_tokenizer(context, request.tokenizer).tokenizer);
  const Dataset dataset = Dataset::open(request.folder, options);
  if (request.json) {
    nlohmann::ordered_json domains = nlohmann::ordered_json::array();
    for (const Dataset::Domain& domain : dataset.domains())
      domains.push_back({{"name", domain.name},
                         {"level", name(domain.level)},
                         {"weight", domain.weight ? nlohmann::ordered_json(*domain.weight) : nlohmann::ordered_json()},
                         {"documents", domain.n_documents},
                         {"tokens", domain.n_tokens}});
    const nlohmann::ordered_json object = {{"digest", dataset.digest()},
                                           {"tokenizer", dataset.tokenizer()},
                                           {"vocabulary_size", dataset.vocabulary_size()},
                                           {"documents", dataset.n_documents()},
                                           {"tokens", dataset.n_tokens()},
                                           {"domains", domains}};
    context.console.out(cli::json_text(object, 2) + "\n");
    return cli::exit_ok;
  }
  for (const Dataset::Domain& domain : dataset.domains())
    context.console.out(fmt::format("{:20} {:9}  {:>10} documents  {:>12} tokens\n", domain.name, name(domain.level),
                                    domain.n_documents, domain.n_tokens));
  context.console.out(fmt::format("{:20} {:9}  {:>10} documents  {:>12} tokens; every shard is as it was written\n",
                                  "all", "", dataset.n_documents(), dataset.n_tokens()));
  return cli::exit_ok;
}

}  // namespace

void add_check(CLI::App& data, cli::Context& context) {
  CLI::App* verb = cli::add_verb(data, "check", "Check every shard of a data set, and say what it holds",
                                 "moebox data check shards/\n"
                                 "moebox data check shards/ --tokenizer smollm2-135m-instruct --json");
  auto request = std::make_shared<CheckRequest>();
  verb->add_option("FOLDER", request->folder, "the data set")->required()->type_name("");
  verb->add_option("--split", request->split, "train or held_out [train]")->type_name("NAME");
  verb->add_option("--tokenizer", request->tokenizer, "it must be of this model's tokenizer")->type_name("MODEL");
  verb->add_flag("--json", request->json, "print a JSON object");
  cli::add_settings(verb, context, {"threads", "store"});
  cli::on_chosen(verb, context, [&context, request] { return run_check(context, *request); });
}

}  // namespace moebox::data
