// moebox._native: data sets built and read, and the trainer's batches of packed rows.
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "base/error.h"
#include "bindings.h"
#include "data/loader.h"
#include "data/program/recipe_file.h"
#include "data/tokenizer_digest.h"
#include "text.h"
#include "tokenizer_choice.h"
#include "waiting.h"

namespace moebox::python {
namespace {

namespace nb = nanobind;
using data::Dataset;
using data::Loader;

template <class T, std::size_t dimensions>
using Array = nb::ndarray<nb::numpy, T, nb::ndim<dimensions>>;

/// An array that owns what was in the vector.
template <class T, std::size_t n>
Array<T, n> array_of(std::vector<T> values, const std::array<std::size_t, n>& shape) {
  auto kept = std::make_unique<std::vector<T>>(std::move(values));
  T* const first = kept->data();
  nb::capsule owner(kept.release(), [](void* vector) noexcept { delete static_cast<std::vector<T>*>(vector); });
  return Array<T, n>(first, n, shape.data(), owner);
}

/// `recipe` is the text of one, relative to the folder of `place`, or empty.
nb::str build(const std::string& recipe, const std::string& place, const std::vector<std::string>& inputs,
              const std::string& tokenizer, const std::string& out, const std::string& domain,
              const std::string& end_token, double held_out, bool force, int threads, const nb::object& progress) {
  const data::BuildRequest request = {inputs, tokenizer, out, domain, end_token, held_out};
  data::Recipe wanted;
  if (recipe.empty()) {
    wanted = data::recipe_for(request);
  } else {
    wanted = data::parse_recipe(recipe, place);
    data::apply(request, wanted);
  }
  const data::NamedTokenizer named = find_tokenizer(wanted.tokenizer);
  data::BuildOptions options = data::build_options(std::move(wanted), named);
  options.replace = force;
  options.n_threads = threads;
  const data::BuildResult result = wait_for(
      [&](Watch& watch) {
        options.progress = [&](std::uint64_t done, std::uint64_t total) { return watch.report(done, total); };
        return data::build_dataset(options);
      },
      progress);
  nlohmann::ordered_json object = {{"path", options.out.string()}, {"tokenizer", result.manifest.tokenizer}};
  for (const data::ManifestDomain& one : result.manifest.domains) object["domains"][one.name] = one.report;
  object["shards"] = result.manifest.shards.size();
  return text(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

/// Batches keep the data, too.
struct OpenDataset {
  std::shared_ptr<const Dataset> data;
};

OpenDataset open_dataset(const std::string& folder, const std::string& split, const std::string& tokenizer,
                         int threads) {
  Dataset::Options options;
  options.split = split;
  options.n_threads = threads;
  if (!tokenizer.empty()) options.tokenizer = data::tokenizer_digest(*find_tokenizer(tokenizer).tokenizer);
  return {wait_for([&](Watch&) { return std::make_shared<const Dataset>(Dataset::open(folder, options)); })};
}

Dataset::Place place_of(const Dataset& dataset, std::int64_t number) {
  if (number < 0 || number >= dataset.n_documents()) throw nb::index_error("document index out of range");
  return dataset.document(number);
}

Array<std::int32_t, 1> tokens(const OpenDataset& dataset, std::int64_t number) {
  const Dataset::Place place = place_of(*dataset.data, number);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(place.range.size()));
  place.shard->copy_tokens(place.range.begin, ids);
  const std::size_t n = ids.size();
  return array_of<std::int32_t, 1>(std::move(ids), {n});
}

Array<std::uint8_t, 1> mask(const OpenDataset& dataset, std::int64_t number) {
  const Dataset::Place place = place_of(*dataset.data, number);
  std::vector<std::uint8_t> values(static_cast<std::size_t>(place.range.size()));
  place.shard->copy_mask(place.range.begin, values);
  const std::size_t n = values.size();
  return array_of<std::uint8_t, 1>(std::move(values), {n});
}

std::vector<nb::tuple> domains(const OpenDataset& dataset) {
  std::vector<nb::tuple> list;
  for (const Dataset::Domain& one : dataset.data->domains())
    list.push_back(nb::make_tuple(text(one.name), text(name(one.level)), one.weight, one.n_documents, one.n_tokens));
  return list;
}

/// The loader, for one thread at a time.
class Batches {
 public:
  Batches(std::shared_ptr<const Dataset> dataset, data::LoaderOptions options)
      : loader_(std::move(dataset), std::move(options)) {}

  /// None at the end.
  nb::object next(int rank, int world) {
    data::Batch batch;
    {
      const nb::gil_scoped_release free;
      const std::lock_guard lock(mutex_);
      batch = loader_.next(rank, world);
    }
    if (batch.empty()) return nb::none();
    const std::array<std::size_t, 2> shape = {static_cast<std::size_t>(batch.n_rows),
                                              static_cast<std::size_t>(batch.row_tokens)};
    return nb::make_tuple(array_of(std::move(batch.tokens), shape), array_of(std::move(batch.targets), shape),
                          array_of(std::move(batch.mask), shape), array_of(std::move(batch.documents), shape),
                          array_of(std::move(batch.positions), shape), batch.n_learnt);
  }
  void skip(std::int64_t batches) {
    const nb::gil_scoped_release free;
    const std::lock_guard lock(mutex_);
    loader_.skip(batches);
  }
  std::string save() {
    const std::lock_guard lock(mutex_);
    return loader_.save();
  }
  void restore(const std::string& state) {
    const std::lock_guard lock(mutex_);
    loader_.restore(state);
  }

 private:
  std::mutex mutex_;
  Loader loader_;
};

std::unique_ptr<Batches> make_batches(const OpenDataset& dataset, int rows, int row_tokens, std::uint64_t seed,
                                      bool repeat, bool shuffle, const std::map<std::string, double>& weights,
                                      const std::array<double, 3>& level_shares) {
  data::LoaderOptions options;
  options.rows = rows;
  options.row_tokens = row_tokens;
  options.seed = seed;
  options.repeat = repeat;
  options.shuffle = shuffle;
  options.weights = weights;
  options.level_shares = level_shares;
  return std::make_unique<Batches>(dataset.data, std::move(options));
}

}  // namespace

void bind_data(nb::module_& module) {
  module.def("build_data", &build, nb::arg("recipe"), nb::arg("place"), nb::arg("inputs"), nb::arg("tokenizer"),
             nb::arg("out"), nb::arg("domain"), nb::arg("end_token"), nb::arg("held_out"), nb::arg("force"),
             nb::arg("threads"), nb::arg("progress").none(),
             nb::sig("def build_data(recipe: str, place: str, inputs: Sequence[str], tokenizer: str, out: str, domain: "
                     "str, end_token: str, held_out: float, force: bool, threads: int, progress: "
                     "collections.abc.Callable[[int, int], "
                     "object] | None) -> str"));
  nb::class_<OpenDataset>(module, "Dataset")
      .def("digest", [](const OpenDataset& dataset) { return dataset.data->digest(); })
      .def("tokenizer", [](const OpenDataset& dataset) { return dataset.data->tokenizer(); })
      .def("vocabulary_size", [](const OpenDataset& dataset) { return dataset.data->vocabulary_size(); })
      .def("n_documents", [](const OpenDataset& dataset) { return dataset.data->n_documents(); })
      .def("n_tokens", [](const OpenDataset& dataset) { return dataset.data->n_tokens(); })
      .def("domains", &domains, nb::sig("def domains(self) -> list[tuple[str, str, float | None, int, int]]"))
      .def("tokens", &tokens, nb::sig("def tokens(self, number: int) -> numpy.typing.NDArray[numpy.int32]"))
      .def("mask", &mask, nb::sig("def mask(self, number: int) -> numpy.typing.NDArray[numpy.uint8]"));
  module.def("open_dataset", &open_dataset, nb::arg("folder"), nb::arg("split"), nb::arg("tokenizer"),
             nb::arg("threads"));
  nb::class_<Batches>(module, "Batches")
      .def("next", &Batches::next, nb::arg("rank"), nb::arg("world"),
           nb::sig("def next(self, rank: int, world: int) -> tuple[numpy.typing.NDArray[numpy.int32], "
                   "numpy.typing.NDArray[numpy.int32], "
                   "numpy.typing.NDArray[numpy.uint8], numpy.typing.NDArray[numpy.int32], "
                   "numpy.typing.NDArray[numpy.int32], int] | None"))
      .def("skip", &Batches::skip)
      .def("save", &Batches::save)
      .def("restore", &Batches::restore);
  module.def("make_batches", &make_batches, nb::arg("dataset"), nb::arg("rows"), nb::arg("row_tokens"), nb::arg("seed"),
             nb::arg("repeat"), nb::arg("shuffle"), nb::arg("weights"), nb::arg("level_shares"));
}

}  // namespace moebox::python
