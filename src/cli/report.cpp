// moebox report: what a training run's log says, as a page for a person, a model card, or TensorBoard's events.
#include <memory>

#include "base/error.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"

#if !defined(MOEBOX_EDGE)
#include "io/output_file.h"
#include "report/run/events.h"
#include "report/run/model_card.h"
#include "report/run/run_page.h"
#endif

namespace moebox::cli {
namespace {

struct ReportRequest {
  std::string run, out, license, tensorboard;
  bool card = false, force = false;
};

#if defined(MOEBOX_EDGE)
int run_report(const Context&, const ReportRequest&) {
  throw Error(ErrorKind::unsupported, "this is the small build of moebox, which has no trainer's tools", "report",
              "use the release build");
}
#else
int run_report(const Context& context, const ReportRequest& request) {
  if (!request.license.empty() && !request.card && request.out != "-")
    context.console.note("--license stands on the page's card alone: --card writes it beside the model\n");
  const std::filesystem::path folder = request.run;
  const report::RunSummary run = report::summarize_run(folder);
  const std::string card = report::model_card(run, {.license = request.license});
  const std::string page = report::run_page(run, card);
  const auto tell = [&](const std::filesystem::path& path) { context.console.note(printable(path.string()) + "\n"); };
  if (request.out == "-") {
    context.console.out(page);
  } else {
    const std::filesystem::path path =
        request.out.empty() ? folder / report::page_name : std::filesystem::path(request.out);
    OutputFile out(path, true);
    out.write(std::as_bytes(std::span(page)));
    out.commit();
    tell(path);
  }
  if (request.card) tell(report::write_card(folder, card, request.force));
  if (!request.tensorboard.empty()) tell(report::convert_log(folder / report::log_name, request.tensorboard));
  return exit_ok;
}
#endif

}  // namespace

void add_report(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "report", "Write a training run's page, model card and TensorBoard events",
                            "moebox report run/\n"
                            "moebox report run/ --card --license apache-2.0\n"
                            "moebox report run/ --tensorboard events/");
  auto request = std::make_shared<ReportRequest>();
  verb->add_option("RUN", request->run, "the folder of a run")->required()->type_name("");
  verb->add_option("-o,--out", request->out, "the page [RUN/report.html]; -: standard output")->type_name("FILE");
  CLI::Option* card = verb->add_flag("--card", request->card, "write the model card, RUN/model/README.md");
  verb->add_option("--license", request->license, "the model's licence, for its card: apache-2.0, say")
      ->type_name("ID");
  verb->add_flag("--force", request->force, "replace a card that a person wrote or changed")->needs(card);
  verb->add_option("--tensorboard", request->tensorboard, "write TensorBoard's events into this folder")
      ->type_name("DIR");
  on_chosen(verb, context, [&context, request] { return run_report(context, *request); });
}

}  // namespace moebox::cli
