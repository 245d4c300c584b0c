// The `moebox` command: parses the command line, reads the settings, runs one verb, and turns errors into words and
// exit codes.
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
#include "cli/version.h"

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

/// The verb that was written, or nullptr.
const CLI::App* chosen_verb(const CLI::App& program) {
  const auto verbs = program.get_subcommands();
  return verbs.empty() ? nullptr : verbs.front();
}

int usage_error(const Context& context, const CLI::App& program, const CLI::ParseError& error) {
  const CLI::App* verb = chosen_verb(program);
  std::vector<std::string> known;
  std::string unexpected;
  for (const std::string& word : program.remaining(true)) {
    if (word != "--") {
      unexpected = word;
      break;
    }
  }
  if (verb != nullptr) {
    for (const CLI::Option* option : verb->get_options()) {
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    }
  } else {
    for (const CLI::App* one : program.get_subcommands({})) known.push_back(one->get_name());
  }
  std::string message = error.what();
  std::string hint;
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !unexpected.empty()) {
    const std::string word = unexpected.substr(0, unexpected.find('='));
    message = verb != nullptr ? fmt::format("{} does not know '{}'", verb->get_name(), word)
                              : fmt::format("there is no verb '{}'", word);
    if (const auto near = nearest(word, known)) hint = say(context.text->did_you_mean, *near);
  }
  if (hint.empty()) hint = verb != nullptr ? fmt::format("moebox {} --help", verb->get_name()) : "moebox --help";
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

int run_program(Context& context, int argc, char** argv) {
  CLI::App program("Run and serve language models on your own hardware", "moebox");
  program.require_subcommand(0, 1);
  program.set_help_flag("-h,--help", "print this help and exit");
  program.add_option("--config", context.settings_file, "configuration file instead of the usual one")
      ->type_name("FILE");
  program.set_version_flag("--version", [] { return version_line(); });
  add_verbs(program, context);
  context.program = &program;

  if (argc < 2) {
    context.console.out(say(context.text->overview, version_number()));
    return exit_ok;
  }
  try {
    program.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* verb = chosen_verb(program);
    context.console.out(verb != nullptr ? verb->help("moebox") : say(context.text->overview, version_number()));
    return exit_ok;
  } catch (const CLI::CallForVersion& version) {
    context.console.out(std::string(version.what()) + "\n");
    return exit_ok;
  } catch (const CLI::ParseError& error) {
    return usage_error(context, program, error);
  }
  if (!context.action.run) {
    context.console.out(say(context.text->overview, version_number()));
    return exit_ok;
  }
  if (context.action.needs_settings) {
    context.settings.load(context.settings_file);
    apply_settings(context);
  }
  return context.action.run();
}

int guarded(int argc, char** argv) {
  Context context;
  context.text = &messages(language_of("auto"));
  try {
    return run_program(context, argc, argv);
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

}  // namespace
}  // namespace moebox::cli

int main(int argc, char** argv) {
  // A peer or a reader that goes away is an error of that write, not the end of the program.
  ::signal(SIGPIPE, SIG_IGN);
  return moebox::cli::guarded(argc, argv);
}
