#include "train/shared_checkpoint.h"

#include <functional>

#include <fmt/core.h>

#include "base/error.h"

namespace moebox::train {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char* problem_key = "problem";
constexpr const char* counts_key = "optimizer_steps";

/// What f returns, or what went wrong, as a note.
Json or_problem(const std::function<Json()>& f) {
  try {
    return f();
  } catch (const Error& problem) {
    return {{problem_key, problem.where().empty() ? problem.message() : problem.where() + ": " + problem.message()}};
  } catch (const std::exception& problem) {
    return {{problem_key, problem.what()}};
  }
}

void throw_problem(const Json& note, const std::string& where) {
  if (note.contains(problem_key)) throw Error(ErrorKind::io, note.at(problem_key).get<std::string>(), where);
}

}  // namespace

void write_together(const CheckpointStore& store, const Snapshot& snapshot, World& world, const std::string& occasion) {
  if (world.size() == 1) {
    store.write(snapshot);
    return;
  }
  const auto name_of = [&](int rank) { return fmt::format("{}/rank-{}", occasion, rank); };
  const std::string begun = occasion + "/begun", ended = occasion + "/ended";
  const auto write_own = [&] {
    Json files = store.write_files(snapshot.step, snapshot.tensors, world.rank());
    return Json{{"files", std::move(files)}, {counts_key, snapshot.facts.at(counts_key)}};
  };

  if (!world.is_first()) {
    const Json folder = Json::parse(world.read_note(begun));
    throw_problem(folder, "rank 0");
    world.leave_note(name_of(world.rank()), or_problem(write_own).dump());
    throw_problem(Json::parse(world.read_note(ended)), "rank 0");
    return;
  }
  const Json result = or_problem([&] {
    const Json folder = or_problem([&] {
      store.begin(snapshot.step);
      return Json::object();
    });
    world.leave_note(begun, folder.dump());
    throw_problem(folder, "");
    Json own = or_problem(write_own), facts = snapshot.facts, files = Json::object(), problem;
    for (int rank = 0; rank < world.size(); ++rank) {
      const Json note = rank == 0 ? own : Json::parse(world.read_note(name_of(rank)));
      if (note.contains(problem_key)) {
        problem = {{problem_key, fmt::format("rank {}: {}", rank, note.at(problem_key).get<std::string>())}};
        continue;  // the others' notes come as well
      }
      files.update(note.at("files"));
      facts[counts_key].update(note.at(counts_key));
    }
    if (!problem.is_null()) return problem;
    store.commit(snapshot.step, facts, files);
    return Json::object();
  });
  if (result.contains(problem_key)) store.abandon(snapshot.step);
  world.leave_note(ended, result.dump());
  throw_problem(result, "");
}

}  // namespace moebox::train
