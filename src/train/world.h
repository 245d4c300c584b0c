// The processes of one training run: each is a rank, and they exchange tensors. Collective calls are made by all ranks,
// in the same order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/torch.h"

namespace moebox::train {

/// Something on its way between ranks. Its tensor is left alone until wait() has returned.
class Transfer {
 public:
  virtual ~Transfer() = default;
  /// Throws Error(network) where another rank is gone, or does not answer.
  virtual void wait() = 0;
};

/// Tensors are contiguous and on the processor. Everything throws Error(network) where another rank is gone, or does
/// not answer in time.
class World {
 public:
  virtual ~World() = default;

  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  bool is_first() const noexcept { return rank() == 0; }

  /// x of all ranks added up, in every rank's x: the same bits everywhere, and every time.
  virtual void add_up(const Tensor& x) = 0;
  /// The same in rank `at`'s x alone; what the others hold afterwards is undetermined.
  virtual std::unique_ptr<Transfer> start_adding_up(const Tensor& x, int at) = 0;
  /// x of rank `from` in every rank's x.
  virtual std::unique_ptr<Transfer> start_spreading(const Tensor& x, int from) = 0;

  /// Every rank sends each rank so many of its rows, in the ranks' order, and gets theirs: x (sum of sent, width) of
  /// any type; (sum of received, width). `sent` and `received` have a number for each rank.
  virtual Tensor exchange_rows(const Tensor& x, const std::vector<std::int64_t>& sent,
                               const std::vector<std::int64_t>& received) = 0;

  /// A world of these ranks alone, this one among them; they are numbered in this order. All of them call it.
  virtual std::shared_ptr<World> part(const std::vector<int>& ranks) = 0;

  /// Notes that any rank can leave and read, from any thread, beside everything else. A name is used once.
  virtual void leave_note(const std::string& name, const std::string& text) = 0;
  /// Waits for it.
  virtual std::string read_note(const std::string& name) = 0;
};

/// One process that works alone.
std::shared_ptr<World> make_world_of_one();

/// rank 0's text, in every rank.
std::string spread_text(World& world, const std::string& text);

}  // namespace moebox::train
