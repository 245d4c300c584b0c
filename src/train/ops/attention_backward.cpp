// With p the probabilities and delta = sum of out * d_out:
//   dv = p^T d_out, ds = scale * p * (d_out v^T - delta), dq = ds k, dk = ds^T q.
#include "train/ops/attention_blocks.h"
#include "train/ops/check.h"

namespace moebox::train_ops {
namespace {

// Rows of a block as a right operand that is summed over the rows: (panel of the dimension, unit of the rows, ...).
template <class T>
class RowSums {
 public:
  RowSums(const ProductKernels<T>& kernels, ScratchUse& scratch, std::int64_t dim)
      : kernels_(kernels),
        dim_(dim),
        n_panels_((dim + kernels.panel_columns - 1) / kernels.panel_columns),
        panel_units_(kernels.units(query_rows) * kernels.panel_columns),
        data_(scratch.take<Unit>(n_panels_ * panel_units_)) {}

  void pack(const T* rows, std::int64_t stride, int n_rows) const noexcept {
    for (std::int64_t panel = 0; panel < n_panels_; ++panel)
      kernels_.pack_columns(rows + panel * kernels_.panel_columns, stride, columns_of(panel), n_rows,
                            kernels_.panel_columns, data_ + panel * panel_units_);
  }

  /// out (n_columns, dim) in float += the columns of p (n_rows, n_columns), `stride` apart, times the rows. `buffer`
  /// has units(query_rows) * transposed_rows units.
  void add_transposed(const T* p, std::int64_t stride, int n_rows, int n_columns, Unit* buffer,
                      float* out) const noexcept {
    for (int column = 0; column < n_columns; column += transposed_rows) {
      const int columns = std::min(transposed_rows, n_columns - column);
      kernels_.pack_columns(p + column, stride, columns, n_rows, transposed_rows, buffer);
      for (std::int64_t panel = 0; panel < n_panels_; ++panel)
        kernels_.multiply({buffer, 1, transposed_rows, data_ + panel * panel_units_, columns, columns_of(panel),
                           kernels_.units(n_rows), dim_, out + column * dim_ + panel * kernels_.panel_columns, nullptr,
                           true});
    }
  }

 private:
  int columns_of(std::int64_t panel) const noexcept {
    return static_cast<int>(std::min<std::int64_t>(kernels_.panel_columns, dim_ - panel * kernels_.panel_columns));
  }

  const ProductKernels<T>& kernels_;
  std::int64_t dim_, n_panels_, panel_units_;
  Unit* data_;
};

// A worker's memory.
template <class T>
struct BackwardBuffers {
  float *scores, *dp, *dq, *dk, *dv;  // dk, dv: (segment, dim)
  T *p, *ds;
  Unit *q_units, *d_out_units, *ds_units, *transposed;
  RowSums<T> q_rows, d_out_rows;

  BackwardBuffers(Compute& compute, ScratchUse& scratch, const Attention<T>& attention, std::int64_t segment)
      : scores(scratch.take<float>(query_rows * tile_keys)),
        dp(scratch.take<float>(query_rows * tile_keys)),
        dq(scratch.take<float>(query_rows * attention.q.dim)),
        dk(scratch.take<float>(segment * attention.k.dim)),
        dv(scratch.take<float>(segment * attention.v.dim)),
        p(scratch.take<T>(query_rows * tile_keys)),
        ds(scratch.take<T>(query_rows * tile_keys)),
        q_units(scratch.take<Unit>(query_rows * compute.kernels.product<T>().units(attention.q.dim))),
        d_out_units(scratch.take<Unit>(query_rows * compute.kernels.product<T>().units(attention.v.dim))),
        ds_units(scratch.take<Unit>(query_rows * tile_keys)),
        transposed(scratch.take<Unit>(compute.kernels.product<T>().units(query_rows) * transposed_rows)),
        q_rows(compute.kernels.product<T>(), scratch, attention.q.dim),
        d_out_rows(compute.kernels.product<T>(), scratch, attention.v.dim) {}
};

/// Tokens of a segment: few parts of a query's gradient, and enough tasks. Depends on the documents alone.
template <class T>
std::int64_t segment_of(const Attention<T>& attention) {
  std::int64_t longest = 1;
  for (std::int64_t token = 0; token < attention.q.n_tokens; ++token)
    longest = std::max(longest, token + 1 - attention.first[token]);
  return 2 * tile_keys * ((longest + 2047) / 2048);
}

template <class T>
class Backward {
 public:
  Backward(Compute& compute, ScratchUse& scratch, const Attention<T>& attention, Heads<const T> out,
           const float* log_sum_exp, Heads<const T> d_out, const AttentionGradients<T>& gradients)
      : compute_(compute),
        products_(compute.kernels.product<T>()),
        rows_(compute.kernels.rows<T>()),
        attention_(attention),
        log_sum_exp_(log_sum_exp),
        d_out_(d_out),
        gradients_(gradients),
        segment_(segment_of(attention)),
        n_segments_((attention.q.n_tokens + segment_ - 1) / segment_),
        n_blocks_((attention.q.n_tokens + query_rows - 1) / query_rows),
        keys_(compute, scratch, attention.k),
        values_(compute, scratch, attention.v),
        key_sums_(compute, scratch, attention.k),
        delta_(scratch.take<float>(attention.q.n_heads * attention.q.n_tokens)) {
    for (int worker = 0; worker < compute.workers.size(); ++worker)
      buffers_.emplace_back(compute, scratch, attention, segment_);
    for_each_run(compute.workers, out.n_tokens, 32, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t token = first; token < last; ++token) {
        for (std::int64_t head = 0; head < out.n_heads; ++head)
          delta_[head * out.n_tokens + token] = rows_.dot(out.at(token, head), d_out.at(token, head), out.dim);
      }
    });
    // Blocks whose queries see several segments get their gradient in parts.
    std::int64_t n_parts = 0;
    for (std::int64_t block = 0; block < n_blocks_; ++block) {
      first_part_.push_back(n_parts);
      if (parts_of(block) > 1) n_parts += parts_of(block);
    }
    first_part_.push_back(n_parts);
    parts_ = scratch.take<float>(attention.q.n_heads * n_parts * query_rows * attention.q.dim);
  }

  void run() {
    const std::int64_t n_kv_heads = attention_.k.n_heads, n_heads = attention_.q.n_heads;
    for_each_task(compute_.workers, n_segments_ * n_kv_heads, [&](std::int64_t task, int worker) {
      segment(task / n_kv_heads, task % n_kv_heads, buffers_[static_cast<std::size_t>(worker)]);
    });
    for_each_task(compute_.workers, n_blocks_ * n_heads,
                  [&](std::int64_t task, int) { add_parts(task / n_heads, task % n_heads); });
  }

 private:
  QueryBlock block(std::int64_t index) const noexcept { return query_block(index, attention_.q.n_tokens); }
  std::int64_t first_segment(std::int64_t index) const noexcept {
    return attention_.first[block(index).begin] / segment_;
  }
  std::int64_t parts_of(std::int64_t index) const noexcept {
    return (block(index).end - 1) / segment_ - first_segment(index) + 1;
  }
  float* parts(std::int64_t index, std::int64_t head) const noexcept {
    return parts_ +
           (head * first_part_.back() + first_part_[static_cast<std::size_t>(index)]) * query_rows * attention_.q.dim;
  }

  void segment(std::int64_t index, std::int64_t kv_head, const BackwardBuffers<T>& b) const noexcept {
    const Heads<const T>& q = attention_.q;
    const std::int64_t begin = index * segment_, end = std::min(begin + segment_, q.n_tokens);
    const std::int64_t group = q.n_heads / attention_.k.n_heads;
    std::fill_n(b.dk, (end - begin) * attention_.k.dim, 0.0f);
    std::fill_n(b.dv, (end - begin) * attention_.v.dim, 0.0f);
    for (std::int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (std::int64_t i = begin / query_rows; i < n_blocks_ && attention_.first[block(i).begin] < end; ++i)
        query(i, head, kv_head, begin, end, b);
    }
    for (std::int64_t token = begin; token < end; ++token) {
      rows_.scale_row(b.dk + (token - begin) * attention_.k.dim, 1, attention_.k.dim, gradients_.dk.at(token, kv_head));
      rows_.scale_row(b.dv + (token - begin) * attention_.v.dim, 1, attention_.v.dim, gradients_.dv.at(token, kv_head));
    }
  }

  // What the queries of a block and the keys of a segment give each other.
  void query(std::int64_t index, std::int64_t head, std::int64_t kv_head, std::int64_t begin, std::int64_t end,
             const BackwardBuffers<T>& b) const noexcept {
    const Heads<const T>& q = attention_.q;
    const std::int64_t key_dim = q.dim, value_dim = attention_.v.dim;
    const QueryBlock block = this->block(index);
    const int n = block.rows();
    const std::int64_t lowest = std::max<std::int64_t>(attention_.first[block.begin], begin);
    const T *q_data = q.at(block.begin, head), *d_out_data = d_out_.at(block.begin, head);
    const BlockUnits<T> queries(products_, q_data, q.token_stride, n, key_dim, b.q_units);
    const BlockUnits<T> d_outs(products_, d_out_data, d_out_.token_stride, n, value_dim, b.d_out_units);
    b.q_rows.pack(q_data, q.token_stride, n);
    b.d_out_rows.pack(d_out_data, d_out_.token_stride, n);
    const std::int64_t row = head * q.n_tokens + block.begin, limit = std::min(block.end, end);
    bool add = false;
    for (std::int64_t tile = lowest / tile_keys; tile * tile_keys < limit; ++tile) {
      const VisibleKeys keys(block, attention_.first, tile, lowest, products_.panel_columns);
      keys_.multiply(queries.units, queries.row, n, key_dim, kv_head, keys, b.scores, tile_keys);
      values_.multiply(d_outs.units, d_outs.row, n, value_dim, kv_head, keys, b.dp, tile_keys);
      rows_.softmax_backward({b.scores, b.dp, tile_keys, keys.first, keys.last, keys.columns, attention_.scale,
                              log_sum_exp_ + row, delta_ + row, b.p, b.ds, n});
      const BlockUnits<T> ds(products_, b.ds, keys.columns, n, keys.columns, b.ds_units);
      key_sums_.multiply(ds.units, ds.row, n, kv_head, keys, b.dq, add);
      b.d_out_rows.add_transposed(b.p, keys.columns, n, keys.n_keys(), b.transposed,
                                  b.dv + (keys.base - begin) * value_dim);
      b.q_rows.add_transposed(b.ds, keys.columns, n, keys.n_keys(), b.transposed, b.dk + (keys.base - begin) * key_dim);
      add = true;
    }
    if (parts_of(index) == 1) {
      for (int i = 0; i < n; ++i)
        rows_.scale_row(b.dq + i * key_dim, 1, key_dim, gradients_.dq.at(block.begin + i, head));
    } else {
      const std::int64_t part = begin / segment_ - first_segment(index);
      std::copy_n(b.dq, n * key_dim, parts(index, head) + part * query_rows * key_dim);
    }
  }

  void add_parts(std::int64_t index, std::int64_t head) const noexcept {
    const auto n_parts = static_cast<int>(parts_of(index));
    if (n_parts == 1) return;
    const QueryBlock block = this->block(index);
    for (int row = 0; row < block.rows(); ++row)
      rows_.sum_every(parts(index, head) + row * attention_.q.dim, query_rows * attention_.q.dim, n_parts,
                      attention_.q.dim, gradients_.dq.at(block.begin + row, head));
  }

  Compute& compute_;
  const ProductKernels<T>& products_;
  const RowKernels<T>& rows_;
  const Attention<T>& attention_;
  const float* log_sum_exp_;
  const Heads<const T> d_out_;
  const AttentionGradients<T>& gradients_;
  const std::int64_t segment_, n_segments_, n_blocks_;
  const TokenPanels<T> keys_, values_;
  const TokenSums<T> key_sums_;
  float *delta_, *parts_;                 // (heads, tokens); (heads, parts, query_rows, key_dim)
  std::vector<std::int64_t> first_part_;  // (blocks + 1)
  std::vector<BackwardBuffers<T>> buffers_;
};

template <class A, class B>
void expect_like(const Heads<A>& a, const Heads<B>& b, const char* what) {
  expect_equal(a.n_tokens, b.n_tokens, what);
  expect_equal(a.n_heads, b.n_heads, what);
  expect_equal(a.dim, b.dim, what);
}

}  // namespace

template <class T>
void attention_backward(Compute& compute, const Attention<T>& attention, Heads<const T> out, const float* log_sum_exp,
                        Heads<const T> d_out, const AttentionGradients<T>& gradients) {
  check_attention(attention);
  expect_equal(out.n_tokens, attention.q.n_tokens, "tokens of the output and of q");
  expect_equal(out.n_heads, attention.q.n_heads, "heads of the output and of q");
  expect_equal(out.dim, attention.v.dim, "dimension of the output and of v");
  expect_like(d_out, out, "shapes of d_out and of the output");
  expect_like(gradients.dq, attention.q, "shapes of dq and of q");
  expect_like(gradients.dk, attention.k, "shapes of dk and of k");
  expect_like(gradients.dv, attention.v, "shapes of dv and of v");
  if (attention.q.n_tokens == 0) return;
  ScratchUse scratch(compute.scratch);
  Backward<T>(compute, scratch, attention, out, log_sum_exp, d_out, gradients).run();
}

template void attention_backward(Compute&, const Attention<float>&, Heads<const float>, const float*,
                                 Heads<const float>, const AttentionGradients<float>&);
template void attention_backward(Compute&, const Attention<BFloat16>&, Heads<const BFloat16>, const float*,
                                 Heads<const BFloat16>, const AttentionGradients<BFloat16>&);

}  // namespace moebox::train_ops
