// Tests of tiny tensors run side by side: threads that wait for each other would only take the processors from other
// tests. Those that look at threads take some (Threads).
#include <gtest/gtest.h>

#include "train/torch.h"

namespace moebox::train::test {
namespace {

class OneThread : public ::testing::Environment {
  void SetUp() override { at::set_num_threads(1); }
};

[[maybe_unused]] ::testing::Environment* const one_thread = ::testing::AddGlobalTestEnvironment(new OneThread);

}  // namespace
}  // namespace moebox::train::test
