#include "train/cpu_compute.h"

#include <omp.h>

namespace moebox::train {
namespace {

class TorchWorkers final : public train_ops::Workers {
 public:
  int size() const noexcept override { return at::get_num_threads(); }

 private:
  void run_erased(Entry entry, void* work) noexcept override {
#pragma omp parallel num_threads(at::get_num_threads())
    entry(work, omp_get_thread_num());
  }
};

}  // namespace

train_ops::Compute& cpu_compute() {
  // Functions of autograd have no object that could own it.
  thread_local TorchWorkers workers;
  thread_local train_ops::Compute compute(workers);
  return compute;
}

}  // namespace moebox::train
