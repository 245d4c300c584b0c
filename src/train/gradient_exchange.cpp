#include "train/gradient_exchange.h"

#include <algorithm>
#include <numeric>

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

namespace moebox::train {

/// Told by autograd that a weight's gradient of this backward pass is complete.
class GradientExchange::Ready : public torch::autograd::PostAccumulateGradHook {
 public:
  Ready(GradientExchange& exchange, std::size_t weight) : exchange_(exchange), weight_(weight) {}
  void operator()(const Tensor&) override { exchange_.note_ready(weight_); }

 private:
  GradientExchange& exchange_;
  const std::size_t weight_;
};

GradientExchange::GradientExchange(const std::vector<Weight>& weights, World& world, std::int64_t bucket_bytes)
    : world_(world) {
  std::vector<Weight> all;
  std::vector<std::int64_t> sizes;
  for (const Weight& weight : weights) {
    if (weight.kind == WeightKind::statistic) continue;
    all.push_back(weight);
    trained_.push_back(weight.values);
    sizes.push_back(weight.values.numel());
  }
  const std::vector<int> owners = choose_owners(sizes, world.size());
  for (std::size_t i = 0; i < all.size(); ++i)
    if (owners[i] == world.rank()) owned_.push_back(all[i]);
  if (world.size() == 1 || trained_.empty()) return;
  make_buckets(owners, bucket_bytes);
  has_gradient_.assign(trained_.size(), 0);
  for (std::size_t i = 0; i < trained_.size(); ++i)
    torch::autograd::impl::set_post_acc_grad_hooks(trained_[i], std::make_unique<Ready>(*this, i));
}

GradientExchange::~GradientExchange() {
  if (buckets_.empty()) return;
  for (const Tensor& weight : trained_) torch::autograd::impl::set_post_acc_grad_hooks(weight, nullptr);
}

/// The last layers' gradients are complete first: buckets are filled, and leave, from the end.
void GradientExchange::make_buckets(const std::vector<int>& owners, std::int64_t bucket_bytes) {
  bucket_of_.resize(trained_.size());
  std::vector<std::int64_t> open(static_cast<std::size_t>(world_.size()), -1);  // each owner's bucket that has room
  std::vector<std::int64_t> bytes;
  for (std::size_t i = trained_.size(); i-- > 0;) {
    std::int64_t& place = open[static_cast<std::size_t>(owners[i])];
    if (place < 0 || bytes[static_cast<std::size_t>(place)] >= bucket_bytes) {
      place = static_cast<std::int64_t>(buckets_.size());
      buckets_.push_back({.owner = owners[i], .weights = {}, .values = {}, .transfer = {}});
      bytes.push_back(0);
    }
    const auto bucket = static_cast<std::size_t>(place);
    buckets_[bucket].weights.push_back(i);
    bytes[bucket] += static_cast<std::int64_t>(trained_[i].nbytes());
  }
  // By the weight that is complete last.
  std::ranges::sort(buckets_, [](const Bucket& a, const Bucket& b) { return a.weights.back() > b.weights.back(); });
  for (std::size_t i = 0; i < buckets_.size(); ++i)
    for (const std::size_t weight : buckets_[i].weights) bucket_of_[weight] = i;
}

void GradientExchange::expect_last_backward() {
  expects_last_ = !buckets_.empty();
  for (Bucket& bucket : buckets_) bucket.n_missing = bucket.weights.size();
}

void GradientExchange::note_ready(std::size_t weight) {
  if (!expects_last_) return;
  --buckets_[bucket_of_[weight]].n_missing;
  send_ready();
}

void GradientExchange::send_ready() {
  while (n_sent_ < buckets_.size() && buckets_[n_sent_].n_missing == 0) send(buckets_[n_sent_++]);
}

void GradientExchange::send(Bucket& bucket) {
  const at::NoGradGuard no_gradient;
  std::vector<Tensor> parts;
  for (const std::size_t i : bucket.weights) {
    Tensor& gradient = trained_[i].mutable_grad();
    has_gradient_[i] = gradient.defined() ? 1 : 0;
    parts.push_back(gradient.defined() ? gradient.reshape(-1)
                                       : at::zeros({trained_[i].numel()}, trained_[i].options()));
    gradient.reset();  // its numbers leave with the bucket
  }
  bucket.values = at::cat(parts);
  bucket.transfer = world_.start_adding_up(bucket.values, bucket.owner);
}

void GradientExchange::take(Bucket& bucket) {
  bucket.transfer->wait();
  if (bucket.owner == world_.rank()) {
    std::int64_t first = 0;
    for (const std::size_t i : bucket.weights) {
      const std::int64_t n = trained_[i].numel();
      if (has_gradient_[i] > 0)
        trained_[i].mutable_grad() = bucket.values.narrow(0, first, n).reshape(trained_[i].sizes());
      first += n;
    }
  }
  bucket.transfer.reset();
  bucket.values.reset();
}

void GradientExchange::finish() {
  if (buckets_.empty()) return;
  expects_last_ = false;
  for (; n_sent_ < buckets_.size(); ++n_sent_) send(buckets_[n_sent_]);
  n_sent_ = 0;
  world_.add_up(at::from_blob(has_gradient_.data(), {static_cast<std::int64_t>(has_gradient_.size())}, at::kLong));
  for (Bucket& bucket : buckets_) take(bucket);
}

void GradientExchange::spread_values() {
  const at::NoGradGuard no_gradient;
  for (Bucket& bucket : buckets_) {
    std::vector<Tensor> parts;
    for (const std::size_t i : bucket.weights) parts.push_back(trained_[i].detach().reshape(-1));
    bucket.values = at::cat(parts);
    bucket.transfer = world_.start_spreading(bucket.values, bucket.owner);
  }
  for (Bucket& bucket : buckets_) {
    bucket.transfer->wait();
    std::int64_t first = 0;
    for (const std::size_t i : bucket.weights) {
      const std::int64_t n = trained_[i].numel();
      if (bucket.owner != world_.rank())
        trained_[i].detach().copy_(bucket.values.narrow(0, first, n).reshape(trained_[i].sizes()));
      first += n;
    }
    bucket.transfer.reset();
    bucket.values.reset();
  }
}

std::vector<int> choose_owners(const std::vector<std::int64_t>& sizes, int n_ranks) {
  std::vector<std::size_t> by_size(sizes.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::ranges::stable_sort(by_size, [&](std::size_t a, std::size_t b) { return sizes[a] > sizes[b]; });
  std::vector<std::int64_t> load(static_cast<std::size_t>(n_ranks));
  std::vector<int> owners(sizes.size());
  for (const std::size_t i : by_size) {
    const auto least = std::ranges::min_element(load);
    owners[i] = static_cast<int>(least - load.begin());
    *least += sizes[i];
  }
  return owners;
}

}  // namespace moebox::train
