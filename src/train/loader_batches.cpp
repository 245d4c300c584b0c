#include "train/loader_batches.h"

#include <fstream>
#include <iterator>

#include "base/error.h"
#include "data/loader.h"
#include "data/tokenizer_digest.h"
#include "tokenizer/tokenizer.h"
#include "train/cross_entropy.h"

namespace moebox::train {
namespace {

/// (n_rows, row_tokens) of the loader's array, as another type.
template <class T>
Tensor batch_tensor(const data::Batch& batch, const std::vector<T>& values, at::ScalarType type) {
  return at::from_blob(const_cast<T*>(values.data()), {batch.n_rows, batch.row_tokens},
                       at::CppTypeToScalarType<T>::value)
      .to(type, /*non_blocking=*/false, /*copy=*/true);
}

/// What `work` gives; the loader knows no folder, its errors get this one.
template <class Work>
auto of_folder(const std::filesystem::path& folder, Work work) {
  try {
    return work();
  } catch (const Error& error) {
    throw Error(error.kind(), error.message(), folder.string() + ": " + error.where(), error.hint());
  }
}

class LoaderBatches : public BatchSource {
 public:
  LoaderBatches(std::filesystem::path folder, std::shared_ptr<const data::Dataset> dataset,
                const data::LoaderOptions& options)
      : folder_(std::move(folder)),
        dataset_(std::move(dataset)),
        loader_(of_folder(folder_, [&] { return data::Loader(dataset_, options); })) {}

  Batch next() override {
    const data::Batch loaded = of_folder(folder_, [&] { return loader_.next(); });
    Batch batch;
    batch.tokens = batch_tensor(loaded, loaded.tokens, at::kLong);
    batch.targets = batch_tensor(loaded, loaded.targets, at::kLong)
                        .masked_fill_(batch_tensor(loaded, loaded.mask, at::kByte).eq(0), no_target);
    batch.documents = batch_tensor(loaded, loaded.documents, at::kInt);
    return batch;
  }
  std::string save() const override { return loader_.save(); }
  void restore(const std::string& state) override {
    of_folder(folder_, [&] { loader_.restore(state); });
  }
  std::int64_t vocabulary_size() const override { return dataset_->vocabulary_size(); }
  std::int64_t n_tokens() const override { return dataset_->n_tokens(); }
  std::string digest() const override { return dataset_->digest(); }

 private:
  const std::filesystem::path folder_;
  std::shared_ptr<const data::Dataset> dataset_;
  data::Loader loader_;
};

std::shared_ptr<const Tokenizer> read_tokenizer(const std::filesystem::path& folder) {
  const auto text = [&](const char* name) {
    std::ifstream in(folder / name, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  };
  try {
    return Tokenizer::from_json(text("tokenizer.json"), text("tokenizer_config.json"), {});
  } catch (const Error& error) {
    throw Error(error.kind(), error.message(), (folder / error.where()).string(), error.hint());
  }
}

}  // namespace

std::unique_ptr<BatchSource> open_batches(const Recipe& recipe) {
  data::Dataset::Options options;
  options.n_threads = recipe.threads;
  if (const std::filesystem::path folder = tokenizer_folder(recipe.model); !folder.empty())
    options.tokenizer = data::tokenizer_digest(*read_tokenizer(folder));
  auto dataset = std::make_shared<const data::Dataset>(data::Dataset::open(recipe.data.folder, options));
  return std::make_unique<LoaderBatches>(
      recipe.data.folder, std::move(dataset),
      data::LoaderOptions{.rows = static_cast<int>(recipe.data.sequences),
                          .row_tokens = static_cast<int>(recipe.data.sequence_tokens),
                          .seed = recipe.data.seed});
}

}  // namespace moebox::train
