// Differential fuzzing of the kernels: any stored bits and any floats, on every instruction set that this machine has.
// All must give scalar's bits (NaN counts as equal to NaN), one token alone must equal the same token in a batch, and a
// packed row must read back as the stored one does.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "kernels/kernels.h"
#include "tensor/dequantize.h"
#include "tensor/dtype.h"

namespace {

using namespace moebox;

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  std::uint8_t byte() { return size_ == 0 ? 0 : (--size_, *data_++); }
  int below(int n) { return byte() % n; }
  // The rest again and again, so that a short input still fills a matrix.
  void fill(void* to, std::size_t n) {
    auto* bytes = static_cast<std::uint8_t*>(to);
    for (std::size_t i = 0; i < n; ++i)
      bytes[i] = size_ == 0 ? 0 : static_cast<std::uint8_t>(data_[i % size_] + i / size_);
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

struct Aligned {
  explicit Aligned(std::size_t size) : data(new(std::align_val_t{64}) std::byte[size]{}) {}
  ~Aligned() { operator delete[](data, std::align_val_t{64}); }
  Aligned(const Aligned&) = delete;
  std::byte* data;
};

void require_same(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (std::memcmp(&a[i], &b[i], sizeof(float)) == 0) continue;
    std::fprintf(stderr, "%s: value %zu is %a and %a\n", what, i, static_cast<double>(a[i]), static_cast<double>(b[i]));
    std::abort();
  }
}

std::vector<float> multiply(const KernelTable& table, const PackedMatrix& matrix, const float* x, int n_tokens) {
  const ActivationType type = activation_type(matrix.dtype);
  const Aligned activations(activation_bytes(type, n_tokens, matrix.n_columns));
  table.quantize(type, x, matrix.n_columns, n_tokens, matrix.n_columns, 0, n_tokens, activations.data);
  std::vector<float> out(static_cast<std::size_t>(n_tokens) * static_cast<std::size_t>(matrix.n_rows));
  table.matmul(matrix, activations.data, n_tokens, 0, matrix.n_panels(), out.data(), matrix.n_rows);
  return out;
}

void products(Input& input) {
  constexpr DType dtypes[] = {DType::f32,  DType::f16,  DType::bf16, DType::q8_0,   DType::q4_0,
                              DType::q4_1, DType::q5_0, DType::q5_1, DType::iq4_nl, DType::mxfp4,
                              DType::q2_k, DType::q3_k, DType::q4_k, DType::q5_k,   DType::q6_k};
  const DType dtype = dtypes[input.below(static_cast<int>(std::size(dtypes)))];
  const int n_rows = 1 + input.below(40), n_columns = 256 * (1 + input.below(2)), n_tokens = 1 + input.below(5);
  const std::size_t stored_row = row_bytes(dtype, static_cast<std::size_t>(n_columns));
  std::vector<std::byte> stored(stored_row * static_cast<std::size_t>(n_rows));
  std::vector<float> x(static_cast<std::size_t>(n_tokens * n_columns));
  input.fill(x.data(), x.size() * sizeof(float));
  input.byte();
  input.fill(stored.data(), stored.size());

  const TensorView view{"fuzz", dtype, 2, {n_rows, n_columns}, stored};
  const std::size_t panel = packed_panel_bytes(dtype, n_columns);
  const Aligned packed(panel * 2);
  const PackedMatrix matrix{dtype, n_rows, n_columns, panel, packed.data};
  pack_panels(view, 0, matrix.n_panels(), packed.data);
  std::vector<float> row(static_cast<std::size_t>(n_columns)), same(row.size());
  for (int i = 0; i < n_rows; ++i) {
    unpack_row(matrix, i, row.data());
    dequantize_row(dtype, stored.data() + static_cast<std::size_t>(i) * stored_row, same.data(), same.size());
    require_same(row, same, "unpack_row");
  }

  const std::vector<float> expected = multiply(kernel_table(Isa::scalar), matrix, x.data(), n_tokens);
  for (const Isa isa : available_isas()) {
    const KernelTable& table = kernel_table(isa);
    require_same(multiply(table, matrix, x.data(), n_tokens), expected, "matmul");
    const std::vector<float> alone = multiply(table, matrix, x.data(), 1);
    require_same(alone, {expected.begin(), expected.begin() + n_rows}, "one token");
  }
}

void vectors(Input& input) {
  const int n = 1 + input.below(200);
  std::vector<float> x(static_cast<std::size_t>(n)), y(x.size());
  input.fill(x.data(), x.size() * sizeof(float));
  input.byte();
  input.fill(y.data(), y.size() * sizeof(float));
  const KernelTable& scalar = kernel_table(Isa::scalar);
  std::vector<float> a(x.size()), b(x.size());
  for (const Isa isa : available_isas()) {
    const KernelTable& table = kernel_table(isa);
    table.rms_norm(x.data(), y.data(), 1e-5f, n, a.data());
    scalar.rms_norm(x.data(), y.data(), 1e-5f, n, b.data());
    require_same(a, b, "rms_norm");
    table.swiglu(x.data(), y.data(), n, a.data());
    scalar.swiglu(x.data(), y.data(), n, b.data());
    require_same(a, b, "swiglu");
    a = x, b = x;
    table.rope(a.data(), y.data(), y.data() + n / 2, n / 2 * 2, n % 4 < 2);
    scalar.rope(b.data(), y.data(), y.data() + n / 2, n / 2 * 2, n % 4 < 2);
    require_same(a, b, "rope");
    if (table.argmax(x.data(), n) != scalar.argmax(x.data(), n)) std::abort();
    require_same({table.log_sum_exp(x.data(), n)}, {scalar.log_sum_exp(x.data(), n)}, "log_sum_exp");
  }
}

std::vector<float> attend(const KernelTable& table, AttentionArgs args, std::vector<float>& out) {
  const int group = args.n_heads / args.kv.n_kv_heads;
  std::vector<float> partials(
      static_cast<std::size_t>(args.n_tokens * group * attention_partial_floats(args.kv.head_dim)));
  args.out = out.data();
  for (int head = 0; head < args.kv.n_kv_heads; ++head) {
    table.attend_segment(args, head, 0, args.n_tokens, 0, partials.data());
    table.attend_combine(args, head, 0, args.n_tokens, 1, partials.data(),
                         static_cast<std::ptrdiff_t>(partials.size()));
  }
  return out;
}

// Cache and queries of any bits, NaN and infinities among them.
void attention(Input& input) {
  AttentionArgs args;
  constexpr KvType types[] = {KvType::f16, KvType::f32, KvType::bf16, KvType::q8_0};
  args.kv = {types[input.below(4)], 1 + input.below(2), 8 * (1 + input.below(10))};
  args.n_heads = args.kv.n_kv_heads * (1 + input.below(4));
  args.scale = 0.125f;
  args.n_tokens = 1 + input.below(40);
  args.first_position = input.below(96 - args.n_tokens);
  const int width = args.n_heads * args.kv.head_dim;
  std::vector<float> q(static_cast<std::size_t>(width * args.n_tokens)), out(q.size());
  input.fill(q.data(), q.size() * sizeof(float));
  const std::size_t block = args.kv.block_bytes();
  const Aligned cache(3 * block);
  input.byte();
  input.fill(cache.data, 3 * block);
  const std::byte* blocks[] = {cache.data, cache.data + block, cache.data + 2 * block};
  args.blocks = blocks;
  args.q = q.data();
  args.q_stride = args.out_stride = width;
  const std::vector<float> expected = attend(kernel_table(Isa::scalar), args, out);
  for (const Isa isa : available_isas()) require_same(attend(kernel_table(isa), args, out), expected, "attention");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 4096) return -1;
  Input input(data, size);
  switch (input.below(4)) {
    case 0:
      vectors(input);
      break;
    case 1:
      attention(input);
      break;
    default:
      products(input);
      break;
  }
  return 0;
}
