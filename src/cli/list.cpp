// moebox list: the models that are here, and those that can be fetched.
#include <algorithm>
#include <ctime>
#include <memory>
#include <unordered_map>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "cli/exit_code.h"
#include "cli/json_text.h"
#include "cli/model_source.h"
#include "cli/verbs.h"

namespace moebox::cli {
namespace {

struct Row {
  std::string name, licence = {}, description = {}, path = {};
  std::uint64_t size_bytes = 0, memory_bytes = 0;
  std::int64_t modified_unix = 0;
  bool here = false;
};

/// A model of the catalogue that is not in the store: to be fetched, or a path of this machine.
Row row_outside(const Hub& hub, const CatalogueEntry& entry) {
  Row row{.name = entry.name, .size_bytes = entry.size_bytes};
  const auto path = hub.find(entry.name);
  if (!path) return row;
  row.here = true;
  row.path = path->string();
  struct stat status{};
  if (::stat(row.path.c_str(), &status) != 0) return row;
  row.modified_unix = status.st_mtime;
  if (S_ISREG(status.st_mode)) row.size_bytes = static_cast<std::uint64_t>(status.st_size);
  return row;
}

std::vector<Row> collect(const Hub& hub, bool all) {
  std::vector<Row> rows;
  for (const StoredModel& stored : hub.list()) {
    Row row{.name = stored.name,
            .path = stored.path.string(),
            .size_bytes = stored.size_bytes,
            .modified_unix = stored.modified_unix,
            .here = true};
    rows.push_back(std::move(row));
  }
  std::unordered_map<std::string, std::size_t> row_of;
  for (std::size_t i = 0; i < rows.size(); ++i) row_of.emplace(rows[i].name, i);
  for (const CatalogueEntry& entry : hub.catalogue()) {
    const auto known = row_of.find(entry.name);
    if (known == row_of.end() && !all) continue;
    if (known == row_of.end()) rows.push_back(row_outside(hub, entry));
    Row& row = known == row_of.end() ? rows.back() : rows[known->second];
    row.licence = entry.licence;
    row.description = entry.description;
    row.memory_bytes = entry.memory_bytes;
  }
  return rows;
}

std::string date_text(std::int64_t unix_seconds) {
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &local));
}

void print_table(const Console& console, const std::vector<Row>& rows, bool all) {
  int widest = 4;
  for (const Row& row : rows) widest = std::max(widest, display_width(row.name));
  std::string out = console.bold(fmt::format("{}  {:>8}  {}  {}", pad_right("NAME", widest), "SIZE",
                                             pad_right(all ? "HERE" : "CHANGED", all ? 4 : 16), "LICENCE")) +
                    "\n";
  for (const Row& row : rows) {
    const std::string state = all ? pad_right(row.here ? "yes" : "no", 4) : date_text(row.modified_unix);
    out += fmt::format("{}  {:>8}  {}  {}", pad_right(printable(row.name), widest),
                       row.size_bytes == 0 ? "?" : bytes_text(row.size_bytes), state,
                       row.licence.empty() ? "-" : printable(row.licence));
    out += "\n";
    if (all && !row.description.empty()) out += "  " + console.faint(printable(row.description)) + "\n";
  }
  console.out(out);
}

int list(const Context& context, bool all, bool names, bool json) {
  const Hub hub = make_hub(context);
  const std::vector<Row> rows = collect(hub, all);
  if (json) {
    nlohmann::ordered_json array = nlohmann::ordered_json::array();
    for (const Row& row : rows) {
      nlohmann::ordered_json object = {{"name", row.name}, {"here", row.here}, {"size_bytes", nullptr}};
      if (row.size_bytes > 0) object["size_bytes"] = row.size_bytes;
      if (row.here) object["path"] = row.path;
      if (row.here) object["modified_unix"] = row.modified_unix;
      if (!row.licence.empty()) object["licence"] = row.licence;
      if (row.memory_bytes > 0) object["memory_bytes"] = row.memory_bytes;
      if (!row.description.empty()) object["description"] = row.description;
      array.push_back(std::move(object));
    }
    context.console.out(json_text(array, 2) + "\n");
  } else if (names) {
    std::string out;
    for (const Row& row : rows) out += printable(row.name) + "\n";
    context.console.out(out);
  } else if (rows.empty()) {
    context.console.note(fmt::format("There is no model in {} yet. 'moebox list --all' shows what can be fetched.\n",
                                     hub.options().store.string()));
  } else {
    print_table(context.console, rows, all);
  }
  return exit_ok;
}

}  // namespace

void add_list(CLI::App& program, Context& context) {
  CLI::App* verb =
      add_verb(program, "list", "The models that are here", "moebox list\nmoebox list --all\nmoebox list --json");
  auto all = std::make_shared<bool>(false);
  auto names = std::make_shared<bool>(false);
  auto json = std::make_shared<bool>(false);
  verb->add_flag("-a,--all", *all, "also those of the catalogues that can be fetched");
  verb->add_flag("--names", *names, "names alone, one a line");
  verb->add_flag("--json", *json, "print a JSON array");
  add_settings(verb, context, {"store"});
  on_chosen(verb, context, [&context, all, names, json] { return list(context, *all, *names, *json); });
}

}  // namespace moebox::cli
