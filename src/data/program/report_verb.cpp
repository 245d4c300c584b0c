// moebox data report: a data set's page, made anew from its manifest.
#include <memory>

#include <fmt/core.h>

#include "cli/exit_code.h"
#include "data/build/report.h"
#include "data/program/verbs.h"
#include "io/output_file.h"

namespace moebox::data {
namespace {

struct ReportRequest {
  std::string folder, out;
};

int run_report(const cli::Context& context, const ReportRequest& request) {
  const std::filesystem::path folder = request.folder;
  const Manifest manifest = Manifest::read(folder);
  const auto named = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  const std::string page = report_page(manifest, named);
  if (request.out == "-") {
    context.console.out(page);
    return cli::exit_ok;
  }
  const std::filesystem::path path = request.out.empty() ? folder / report_name : std::filesystem::path(request.out);
  OutputFile out(path, true);
  out.write(std::as_bytes(std::span(page)));
  out.commit();
  context.console.note(cli::printable(path.string()) + "\n");
  return cli::exit_ok;
}

}  // namespace

void add_report(CLI::App& data, cli::Context& context) {
  CLI::App* verb = cli::add_verb(data, "report", "Write a data set's page again: what was kept and why",
                                 "moebox data report shards/\n"
                                 "moebox data report shards/ --out - > page.html");
  auto request = std::make_shared<ReportRequest>();
  verb->add_option("FOLDER", request->folder, "the data set")->required()->type_name("");
  verb->add_option("--out", request->out, "the page [FOLDER/report.html]; -: standard output")->type_name("FILE");
  cli::on_chosen(verb, context, [&context, request] { return run_report(context, *request); });
}

}  // namespace moebox::data
