#include <cmath>
#include <limits>

#include "train/ops/attention_blocks.h"
#include "train/ops/check.h"

namespace moebox::train_ops {

std::vector<std::int32_t> first_visible(const std::int32_t* documents, std::int64_t batch, std::int64_t length) {
  std::vector<std::int32_t> first(static_cast<std::size_t>(batch * length));
  for (std::int64_t token = 0; token < batch * length; ++token) {
    const bool begins = token % length == 0 || (documents != nullptr && documents[token] != documents[token - 1]);
    const auto at = static_cast<std::size_t>(token);
    first[at] = begins ? static_cast<std::int32_t>(token) : first[at - 1];
  }
  return first;
}

template <class T>
void check_attention(const Attention<T>& attention) {
  const auto& [q, k, v, first, scale] = attention;
  expect_equal(k.n_tokens, q.n_tokens, "tokens of k and of q");
  expect_equal(v.n_tokens, q.n_tokens, "tokens of v and of q");
  expect_equal(k.dim, q.dim, "dimension of k and of q");
  expect_equal(v.n_heads, k.n_heads, "heads of v and of k");
  if (k.n_heads < 1 || q.n_heads % k.n_heads != 0)
    throw Error(ErrorKind::invalid_argument,
                std::to_string(k.n_heads) + " kv heads do not divide " + std::to_string(q.n_heads) + " heads",
                "attention");
  for (std::int64_t token = 0; token < q.n_tokens; ++token) {
    if (first[token] < (token > 0 ? first[token - 1] : 0) || first[token] > token)
      throw Error(ErrorKind::invalid_argument,
                  "token " + std::to_string(token) + " sees tokens from " + std::to_string(first[token]) +
                      " on: expected at most its own number, and no less than the token before it",
                  "attention");
  }
}
template void check_attention(const Attention<float>&);
template void check_attention(const Attention<BFloat16>&);

namespace {

// A worker's memory.
template <class T>
struct ForwardBuffers {
  float *scores, *out, *maximum, *sum;
  T* p;
  Unit *q_units, *p_units;

  ForwardBuffers(Compute& compute, ScratchUse& scratch, const Attention<T>& attention)
      : scores(scratch.take<float>(query_rows * tile_keys)),
        out(scratch.take<float>(query_rows * attention.v.dim)),
        maximum(scratch.take<float>(query_rows)),
        sum(scratch.take<float>(query_rows)),
        p(scratch.take<T>(query_rows * tile_keys)),
        q_units(scratch.take<Unit>(query_rows * compute.kernels.product<T>().units(attention.q.dim))),
        p_units(scratch.take<Unit>(query_rows * tile_keys)) {}
};

template <class T>
class Forward {
 public:
  Forward(Compute& compute, ScratchUse& scratch, const Attention<T>& attention, Heads<T> out, float* log_sum_exp)
      : compute_(compute),
        products_(compute.kernels.product<T>()),
        rows_(compute.kernels.rows<T>()),
        attention_(attention),
        out_(out),
        log_sum_exp_(log_sum_exp),
        keys_(compute, scratch, attention.k),
        values_(compute, scratch, attention.v) {
    for (int worker = 0; worker < compute.workers.size(); ++worker) buffers_.emplace_back(compute, scratch, attention);
  }

  void run() {
    const std::int64_t n_heads = attention_.q.n_heads;
    const std::int64_t n_blocks = (attention_.q.n_tokens + query_rows - 1) / query_rows;
    for_each_task(compute_.workers, n_blocks * n_heads, [&](std::int64_t task, int worker) {
      attend(query_block(task / n_heads, attention_.q.n_tokens), task % n_heads,
             buffers_[static_cast<std::size_t>(worker)]);
    });
  }

 private:
  void attend(QueryBlock block, std::int64_t head, const ForwardBuffers<T>& b) const noexcept {
    const Heads<const T>& q = attention_.q;
    const std::int64_t kv_head = head / (q.n_heads / attention_.k.n_heads);
    const std::int64_t lowest = attention_.first[block.begin];
    const BlockUnits<T> queries(products_, q.at(block.begin, head), q.token_stride, block.rows(), q.dim, b.q_units);
    std::fill_n(b.maximum, block.rows(), -std::numeric_limits<float>::infinity());
    std::fill_n(b.sum, block.rows(), 0.0f);
    std::fill_n(b.out, block.rows() * out_.dim, 0.0f);
    for (std::int64_t tile = lowest / tile_keys; tile * tile_keys < block.end; ++tile) {
      const VisibleKeys keys(block, attention_.first, tile, lowest, products_.panel_columns);
      keys_.multiply(queries.units, queries.row, block.rows(), q.dim, kv_head, keys, b.scores, tile_keys);
      rows_.softmax({b.scores, tile_keys, keys.first, keys.last, keys.columns, attention_.scale, b.maximum, b.sum,
                     b.out, out_.dim, static_cast<int>(out_.dim), b.p, block.rows()});
      const BlockUnits<T> p(products_, b.p, keys.columns, block.rows(), keys.columns, b.p_units);
      values_.multiply(p.units, p.row, block.rows(), kv_head, keys, b.out, true);
    }
    for (int row = 0; row < block.rows(); ++row) {
      const std::int64_t token = block.begin + row;
      rows_.scale_row(b.out + row * out_.dim, 1 / b.sum[row], out_.dim, out_.at(token, head));
      log_sum_exp_[head * q.n_tokens + token] =
          b.maximum[row] + static_cast<float>(std::log(static_cast<double>(b.sum[row])));
    }
  }

  Compute& compute_;
  const ProductKernels<T>& products_;
  const RowKernels<T>& rows_;
  const Attention<T>& attention_;
  const Heads<T> out_;
  float* log_sum_exp_;
  const TokenPanels<T> keys_;
  const TokenSums<T> values_;
  std::vector<ForwardBuffers<T>> buffers_;
};

}  // namespace

template <class T>
void attention_forward(Compute& compute, const Attention<T>& attention, Heads<T> out, float* log_sum_exp) {
  check_attention(attention);
  expect_equal(out.n_tokens, attention.q.n_tokens, "tokens of the output and of q");
  expect_equal(out.n_heads, attention.q.n_heads, "heads of the output and of q");
  expect_equal(out.dim, attention.v.dim, "dimension of the output and of v");
  ScratchUse scratch(compute.scratch);
  Forward<T>(compute, scratch, attention, out, log_sum_exp).run();
}

template void attention_forward(Compute&, const Attention<float>&, Heads<float>, float*);
template void attention_forward(Compute&, const Attention<BFloat16>&, Heads<BFloat16>, float*);

}  // namespace moebox::train_ops
