#include "cli/program.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>

#include <fmt/core.h>
#include <signal.h>

#include "base/error.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/nearest.h"

namespace moebox::cli {
namespace {

/// Words for a person: what they quote may be a megabyte that somebody pasted.
std::string readable(const std::string& text) {
  constexpr std::size_t most_bytes = 1500;
  if (text.size() <= most_bytes) return printable(text);
  std::size_t end = most_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return printable(std::string_view(text).substr(0, end)) + " ...";
}

void print_error(const Context& context, const std::string& message, const std::string& hint) {
  context.console.error(say(context.text->error, readable(message)));
  if (!hint.empty()) context.console.error(say(context.text->hint, readable(hint)));
}

/// The engine's names for what a person sets, as a person knows them.
std::string place_of(const Error& error) {
  if (error.where() == "context_tokens") return "--context";
  if (error.where() == "kv_bytes") return "--kv-memory";
  return error.where();
}

/// The verb that was written, and verbs of that verb; empty when there is none.
std::vector<const CLI::App*> chosen_verbs(const CLI::App& program) {
  std::vector<const CLI::App*> chosen;
  for (auto verbs = program.get_subcommands(); !verbs.empty(); verbs = verbs.front()->get_subcommands())
    chosen.push_back(verbs.front());
  return chosen;
}

/// "moebox data build"
std::string spelled(const CLI::App& program, const std::vector<const CLI::App*>& verbs) {
  std::string words = program.get_name();
  for (const CLI::App* verb : verbs) words += " " + verb->get_name();
  return words;
}

std::string help(const CLI::App& program, std::vector<const CLI::App*> verbs) {
  const CLI::App* last = verbs.back();
  verbs.pop_back();
  return last->help(spelled(program, verbs));
}

int usage_error(const Context& context, const CLI::App& program, const CLI::ParseError& error) {
  const std::vector<const CLI::App*> verbs = chosen_verbs(program);
  const CLI::App& last = verbs.empty() ? program : *verbs.back();
  const bool wants_verb = !last.get_subcommands({}).empty();
  std::vector<std::string> known;
  std::string unexpected;
  for (const std::string& word : program.remaining(true)) {
    if (word != "--") {
      unexpected = word;
      break;
    }
  }
  if (wants_verb) {
    for (const CLI::App* one : last.get_subcommands({})) known.push_back(one->get_name());
  } else {
    for (const CLI::Option* option : last.get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  }
  std::string message = error.what();
  std::string hint;
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !unexpected.empty()) {
    const std::string word = unexpected.substr(0, unexpected.find('='));
    message = wants_verb ? fmt::format("there is no verb '{}'", word)
                         : fmt::format("{} does not know '{}'", last.get_name(), word);
    if (const auto near = nearest(word, known)) hint = say(context.text->did_you_mean, *near);
  }
  if (hint.empty()) hint = spelled(program, verbs) + " --help";
  print_error(context, message, hint);
  return exit_usage;
}

LogLevel log_level(const std::string& name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "info") return LogLevel::info;
  if (name == "error") return LogLevel::error;
  if (name == "off") return LogLevel::off;
  return LogLevel::warning;
}

/// What holds for every verb, from the settings.
void apply_settings(Context& context) {
  const Settings& settings = context.settings;
  context.text = &messages(language_of(settings.text("language")));
  const std::string colour = settings.text("color");
  context.console.set_colour(colour == "always"  ? ColourMode::always
                             : colour == "never" ? ColourMode::never
                                                 : ColourMode::automatic);
  configure_log(log_level(settings.text("log_level")),
                settings.text("log_format") == "json" ? LogFormat::json : LogFormat::text);
  // The kernels' dispatch reads the variable itself, when the first model is loaded.
  if (const std::string isa = settings.text("isa"); isa == "auto") {
    ::unsetenv("MOEBOX_ISA");
  } else {
    ::setenv("MOEBOX_ISA", isa.c_str(), 1);
  }
}

int run(const Program& description, Context& context, int argc, char** argv) {
  CLI::App program(description.description, description.name);
  program.require_subcommand(0, 1);
  program.set_help_flag("-h,--help", "print this help and exit");
  program.add_option("--config", context.settings_file, "configuration file instead of the usual one")
      ->type_name("FILE");
  program.set_version_flag("--version", [&description] { return description.version_line(); });
  description.add_verbs(program, context);
  context.program = &program;
  context.arguments.assign(argv + std::min(argc, 1), argv + argc);
  const auto overview = [&] { return description.overview ? description.overview(context) : program.help(); };

  if (argc < 2) {
    context.console.out(overview());
    return exit_ok;
  }
  try {
    program.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto verbs = chosen_verbs(program);
    context.console.out(verbs.empty() ? overview() : help(program, verbs));
    return exit_ok;
  } catch (const CLI::CallForVersion& version) {
    context.console.out(std::string(version.what()) + "\n");
    return exit_ok;
  } catch (const CLI::ParseError& error) {
    return usage_error(context, program, error);
  }
  if (!context.action.run) {
    const auto verbs = chosen_verbs(program);
    context.console.out(verbs.empty() ? overview() : help(program, verbs));
    return exit_ok;
  }
  if (context.action.needs_settings) {
    context.settings.load(context.settings_file);
    apply_settings(context);
  }
  return context.action.run();
}

}  // namespace

int run_program(const Program& program, int argc, char** argv) noexcept {
  // A peer or a reader that goes away is an error of that write, not the end of the program.
  ::signal(SIGPIPE, SIG_IGN);
  Context context;
  context.text = &messages(language_of("auto"));
  try {
    return run(program, context, argc, argv);
  } catch (const OutputClosed&) {
    return exit_ok;  // who read has what was wanted
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::cancelled) {
      context.console.note(std::string(context.text->interrupted) + "\n");
    } else {
      const std::string place = place_of(error);
      print_error(context, place.empty() ? error.message() : place + ": " + error.message(), error.hint());
    }
    return exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    print_error(context, "there is not enough memory", "a smaller --context or --kv-memory may help");
    return exit_resource;
  } catch (const std::exception& error) {
    print_error(context, fmt::format("this is a bug in moebox: {}", error.what()), "");
    return exit_internal;
  }
}

}  // namespace moebox::cli
