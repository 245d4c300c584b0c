// moebox data build: a recipe, or inputs alone, become shards.
#include <memory>

#include <fmt/core.h>

#include "cli/exit_code.h"
#include "cli/interrupts.h"
#include "cli/json_text.h"
#include "cli/progress.h"
#include "data/build/build.h"
#include "data/program/recipe_file.h"
#include "data/program/tokenizer_file.h"
#include "data/program/verbs.h"

namespace moebox::data {
namespace {

struct BuildVerb {
  BuildRequest request;
  bool force = false, json = false;
};

std::string summary(const BuildResult& result) {
  std::string text;
  for (std::size_t i = 0; i < result.counts.size(); ++i) {
    const Counts& counts = result.counts[i];
    text += fmt::format("{}: {} of {} documents kept ({} held out), {} tokens\n", result.manifest.domains[i].name,
                        counts.kept.documents + counts.held_out.documents, counts.read.documents,
                        counts.held_out.documents, counts.tokens);
    for (const auto& [reason, tally] : counts.dropped)
      text += fmt::format("  dropped: {} {} ({})\n", tally.documents, reason,
                          cli::bytes_text(static_cast<std::uint64_t>(tally.bytes)));
    for (const auto& [note, count] : counts.notes) text += fmt::format("  {} {}\n", count, note);
  }
  return text;
}

int run_build(const cli::Context& context, const BuildVerb& verb) {
  Recipe recipe = recipe_for(verb.request);
  const NamedTokenizer tokenizer = load_tokenizer(context, recipe.tokenizer);
  BuildOptions options = build_options(std::move(recipe), tokenizer);
  options.replace = verb.force;
  options.n_threads = static_cast<int>(context.settings.integer("threads"));
  BuildResult result;
  {
    cli::InterruptGuard interrupts;
    cli::ProgressBar bar(context.console, "reading");
    options.progress = [&](std::uint64_t done, std::uint64_t total) {
      bar.show("all sources", done, total);
      return !interrupts.take();
    };
    result = build_dataset(options);
  }
  if (verb.json) {
    nlohmann::ordered_json object = {{"path", options.out.string()}, {"tokenizer", result.manifest.tokenizer}};
    for (const ManifestDomain& domain : result.manifest.domains) object["domains"][domain.name] = domain.report;
    object["shards"] = result.manifest.shards.size();
    context.console.out(cli::json_text(object, 2) + "\n");
  } else {
    context.console.note(summary(result));
    context.console.note(
        fmt::format("{}: {} shards\n", cli::printable(options.out.string()), result.manifest.shards.size()));
  }
  return cli::exit_ok;
}

}  // namespace

void add_build(CLI::App& data, cli::Context& context) {
  CLI::App* verb =
      cli::add_verb(data, "build", "Text, JSONL, Parquet and code become shards of tokens",
                    "moebox data build recipe.toml\n"
                    "moebox data build --tokenizer smollm2-135m-instruct --out shards/ book.txt more/*.jsonl\n"
                    "moebox data build recipe.toml --out shards/ --force --threads 8");
  auto wanted = std::make_shared<BuildVerb>();
  BuildRequest& request = wanted->request;
  verb->add_option("INPUT", request.inputs, "a recipe (.toml), or files and folders")->required()->type_name("");
  verb->add_option("--out", request.out, "folder to write, instead of the recipe's")->type_name("FOLDER");
  verb->add_option("--tokenizer", request.tokenizer, "model's name, file or folder, instead of the recipe's")
      ->type_name("MODEL");
  verb->add_option("--end-token", request.end_token, "token behind every document; none: no token")->type_name("TEXT");
  verb->add_option("--domain", request.domain, "name of the domain of files that are given without a recipe [text]")
      ->type_name("NAME");
  verb->add_option("--held-out", request.held_out, "share of the documents that is only measured [0]")
      ->check(CLI::Range(0.0, 0.5))
      ->type_name("X");
  verb->add_flag("--force", wanted->force, "replace the data at --out");
  verb->add_flag("--json", wanted->json, "print a JSON object");
  cli::add_settings(verb, context, {"threads", "store"});
  cli::on_chosen(verb, context, [&context, wanted] { return run_build(context, *wanted); });
}

}  // namespace moebox::data
