// moebox completion: scripts for bash, zsh and fish, made from the command line's own definitions.
#include <algorithm>
#include <memory>
#include <sstream>

#include <fmt/core.h>
#include <fmt/format.h>

#include "base/error.h"
#include "cli/companion.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "convert/recipe.h"

namespace moebox::cli {
namespace {

/// What may stand in a place of the command line.
enum class Kind { nothing, text, file, model, choice };

struct OptionShape {
  std::vector<std::string> names;  // "--json", "-v"
  std::string help;
  bool takes_value = false;
  Kind kind = Kind::text;
  std::vector<std::string> choices;
};

struct VerbShape {
  std::string name, help;
  std::vector<OptionShape> options;
  Kind positional = Kind::nothing;
  std::vector<std::string> choices;
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

OptionShape option_shape(const CLI::Option& option) {
  OptionShape shape;
  for (const std::string& name : option.get_lnames()) shape.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) shape.names.push_back("-" + name);
  shape.help = option.get_description();
  shape.takes_value = option.get_items_expected_max() > 0;
  const std::string type = option.get_type_name();
  if (type == "FILE") shape.kind = Kind::file;
  if (type == "TYPE") {
    shape.kind = Kind::choice;
    for (const Recipe& recipe : recipes()) shape.choices.emplace_back(recipe.name);
  }
  if (type.find('|') != std::string::npos) {
    shape.kind = Kind::choice;
    shape.choices = split(type, '|');
  }
  return shape;
}

Kind positional_kind(const CLI::App& verb, std::vector<std::string>& choices) {
  for (const CLI::Option* option : verb.get_options()) {
    if (!option->get_positional()) continue;
    const std::string name = option->get_name(true);
    if (name == "MODEL" || name == "IN") return Kind::model;
    if (name == "SHELL") choices = {"bash", "zsh", "fish"};
    if (name == "KEY") {
      for (const Setting& setting : setting_table()) choices.emplace_back(setting.key);
    }
    return choices.empty() ? Kind::text : Kind::choice;
  }
  return Kind::nothing;
}

std::vector<VerbShape> shapes(const CLI::App& program) {
  std::vector<VerbShape> verbs;
  for (const CLI::App* verb : program.get_subcommands({})) {
    VerbShape shape;
    shape.name = verb->get_name();
    shape.help = verb->get_description();
    for (const CLI::Option* option : verb->get_options()) {
      if (!option->get_lnames().empty() || !option->get_snames().empty())
        shape.options.push_back(option_shape(*option));
    }
    shape.positional = positional_kind(*verb, shape.choices);
    if (const Companion* companion = find_companion(shape.name); companion != nullptr && !companion->actions.empty()) {
      shape.positional = Kind::choice;
      shape.choices = split(std::string(companion->actions), '|');
    }
    verbs.push_back(std::move(shape));
  }
  return verbs;
}

std::string joined_names(const std::vector<VerbShape>& verbs) {
  std::vector<std::string> names;
  for (const VerbShape& verb : verbs) names.push_back(verb.name);
  return fmt::format("{}", fmt::join(names, " "));
}

std::string option_names(const VerbShape& verb) {
  std::vector<std::string> names;
  for (const OptionShape& option : verb.options) names.insert(names.end(), option.names.begin(), option.names.end());
  return fmt::format("{}", fmt::join(names, " "));
}

// ---- bash
// -----------------------------------------------------------------------------------------------------------------------

std::string bash_words(Kind kind, const std::vector<std::string>& choices) {
  switch (kind) {
    case Kind::file:
      return "_moebox_files";
    case Kind::model:
      return "_moebox_models";
    case Kind::choice:
      return fmt::format("_moebox_words '{}'", fmt::join(choices, " "));
    default:
      return "return";
  }
}

std::string bash_script(const std::vector<VerbShape>& verbs) {
  std::string out = R"sh(# bash completion of moebox; made by `moebox completion bash`
_moebox_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur"); }
_moebox_files() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); }
_moebox_models() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -W "$(moebox list --all --names 2>/dev/null)" -- "$cur"; compgen -f -- "$cur")
}
_moebox() {
  local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} verb='' index
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    case ${COMP_WORDS[index]} in
      --config) ((index++)) ;;
      -*) ;;
      *) verb=${COMP_WORDS[index]}; break ;;
    esac
  done
  case $verb in
)sh";
  for (const VerbShape& verb : verbs) {
    out += fmt::format("    {})\n      case $previous in\n", verb.name);
    for (const OptionShape& option : verb.options) {
      if (option.takes_value) {
        out += fmt::format("        {}) {}; return ;;\n", fmt::join(option.names, "|"),
                           bash_words(option.kind, option.choices));
      }
    }
    out += fmt::format("      esac\n      if [[ $cur == -* ]]; then _moebox_words '{}'; else {}; fi\n      ;;\n",
                       option_names(verb), bash_words(verb.positional, verb.choices));
  }
  out += fmt::format(
      "    *) if [[ $previous == --config ]]; then _moebox_files; else _moebox_words '{} --config --help --version'; "
      "fi ;;\n",
      joined_names(verbs));
  return out + "  esac\n}\ncomplete -F _moebox moebox\n";
}

// ---- zsh
// ------------------------------------------------------------------------------------------------------------------------

/// For a text within '...[...]' of an _arguments specification.
std::string zsh_quoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out;
}

std::string zsh_action(Kind kind, const std::vector<std::string>& choices) {
  switch (kind) {
    case Kind::file:
      return ":file:_files";
    case Kind::model:
      return ":model:_moebox_models";
    case Kind::choice:
      return fmt::format(":value:({})", fmt::join(choices, " "));
    default:
      return ":text:";
  }
}

std::string zsh_script(const std::vector<VerbShape>& verbs) {
  std::string out = R"sh(#compdef moebox
# zsh completion of moebox; made by `moebox completion zsh`
_moebox_models() {
  local -a models
  models=(${(f)"$(moebox list --all --names 2>/dev/null)"})
  compadd -a models
  _files
}
_moebox() {
  local context state line
  local -a verbs
  verbs=(
)sh";
  for (const VerbShape& verb : verbs) out += fmt::format("    '{}:{}'\n", verb.name, zsh_quoted(verb.help));
  out += R"sh(  )
  _arguments -C '--config[configuration file]:file:_files' '--version[version]' '--help[help]' '1:verb:->verb' '*::argument:->argument'
  case $state in
    verb) _describe verb verbs ;;
    argument)
      case $words[1] in
)sh";
  for (const VerbShape& verb : verbs) {
    out += fmt::format("        {})\n          _arguments", verb.name);
    for (const OptionShape& option : verb.options) {
      for (const std::string& name : option.names) {
        out += fmt::format(" \\\n            '{}[{}]{}'", name, zsh_quoted(option.help),
                           option.takes_value ? zsh_action(option.kind, option.choices) : "");
      }
    }
    if (verb.positional != Kind::nothing)
      out += fmt::format(" \\\n            '*{}'", zsh_action(verb.positional, verb.choices));
    out += " ;;\n";
  }
  return out + R"sh(      esac ;;
  esac
}
if [ "$funcstack[1]" = "_moebox" ]; then _moebox "$@"; else compdef _moebox moebox; fi
)sh";
}

// ---- fish
// -----------------------------------------------------------------------------------------------------------------------

std::string fish_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_arguments(Kind kind, const std::vector<std::string>& choices) {
  switch (kind) {
    case Kind::file:
      return " -r -F";
    case Kind::choice:
      return fmt::format(" -x -a {}", fish_quoted(fmt::format("{}", fmt::join(choices, " "))));
    default:
      return " -x";
  }
}

std::string fish_script(const std::vector<VerbShape>& verbs) {
  std::string out = R"sh(# fish completion of moebox; made by `moebox completion fish`
function __moebox_verb_is --description 'whether the verb typed so far is this one; without an argument: whether there is none'
  set -l words (commandline -opc)
  set -e words[1]
  while set -q words[1]
    switch $words[1]
      case --config
        set -e words[1]
      case '-*'
      case '*'
        test "$words[1]" = "$argv[1]"
        return
    end
    set -e words[1]
  end
  not set -q argv[1]
end
complete -c moebox -f
complete -c moebox -n __moebox_verb_is -l config -r -F -d 'configuration file'
complete -c moebox -n __moebox_verb_is -l help -s h -d 'print this help and exit'
complete -c moebox -n __moebox_verb_is -l version -d 'print the version and exit'
)sh";
  for (const VerbShape& verb : verbs) {
    out += fmt::format("complete -c moebox -n __moebox_verb_is -a {} -d {}\n", verb.name, fish_quoted(verb.help));
  }
  for (const VerbShape& verb : verbs) {
    const std::string begin = fmt::format("complete -c moebox -n '__moebox_verb_is {}'", verb.name);
    if (verb.positional == Kind::model) out += begin + " -F -a '(moebox list --all --names 2>/dev/null)'\n";
    if (verb.positional == Kind::choice) {
      out += fmt::format("{} -a {}\n", begin, fish_quoted(fmt::format("{}", fmt::join(verb.choices, " "))));
    }
    for (const OptionShape& option : verb.options) {
      out += begin;
      for (const std::string& name : option.names)
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (option.takes_value) out += fish_arguments(option.kind, option.choices);
      out += " -d " + fish_quoted(option.help) + "\n";
    }
  }
  return out;
}

int completion(const Context& context, const std::string& shell) {
  const auto verbs = shapes(*context.program);
  if (shell == "bash") {
    context.console.out(bash_script(verbs));
  } else if (shell == "zsh") {
    context.console.out(zsh_script(verbs));
  } else if (shell == "fish") {
    context.console.out(fish_script(verbs));
  } else {
    throw Error(ErrorKind::invalid_argument, fmt::format("expected bash, zsh or fish, found '{}'", shell), "SHELL");
  }
  return exit_ok;
}

}  // namespace

void add_completion(CLI::App& program, Context& context) {
  CLI::App* verb = add_verb(program, "completion", "Print a completion script for a shell",
                            "source <(moebox completion bash)\n"
                            "moebox completion zsh > ~/.zfunc/_moebox\n"
                            "moebox completion fish > ~/.config/fish/completions/moebox.fish");
  auto shell = std::make_shared<std::string>();
  verb->add_option("SHELL", *shell, "bash, zsh or fish")->required()->type_name("");
  on_chosen(verb, context, [&context, shell] { return completion(context, *shell); }, false);
}

}  // namespace moebox::cli
