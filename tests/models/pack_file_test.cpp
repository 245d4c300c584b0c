// Packed weights in a file: the same bits with it as without it, and no file that is not exactly right is ever used.
#include "models/pack_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/xxh64.h"
#include "pack_cases.h"

namespace moebox::test {
namespace {

namespace fs = std::filesystem;

constexpr ModelOptions mapping = {.pack_file = PackFileUse::automatic};

TEST(PackFile, GivesTheSameBits) {
  for (const char* name : {"deepseek/models/tiny-v3", "moe/models/mixtral", "moe/models/qwen3"}) {
    SCOPED_TRACE(name);
    const CopiedModel copy(name);
    const Checkpoint checkpoint = copy.open();
    const auto expected = logits_of(checkpoint, {});
    EXPECT_FALSE(pack_file_state(checkpoint, {}).usable);
    EXPECT_TRUE(copy.pack().usable);
    EXPECT_TRUE(pack_file_state(checkpoint, {}).usable);
    EXPECT_TRUE(same_bits(logits_of(checkpoint, mapping), expected));
  }
}

// That the file is used at all: where its content is another model's with all checksums right, the bits differ.
TEST(PackFile, IsReallyUsed) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  copy.pack();
  std::vector<char> bytes = read_file(copy.pack_path());
  PackHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  for (std::size_t i = PackFile::data_offset; i < PackFile::data_offset + 4096; i += 64) bytes[i] ^= 1;
  std::vector<std::uint64_t> table(header.n_blocks);
  char* stored = bytes.data() + PackFile::data_offset + header.data_bytes;
  std::memcpy(table.data(), stored, table.size() * 8);
  // The first section is one block: its size is not in the file, so it is found by its checksum.
  const std::vector<char> before = read_file(copy.pack_path());
  std::size_t size = 64;
  const auto hash = [](const std::vector<char>& from, std::size_t n) {
    return xxh64(std::as_bytes(std::span(from)).subspan(PackFile::data_offset, n));
  };
  while (hash(before, size) != table[0]) size += 64;
  table[0] = hash(bytes, size);
  const std::uint64_t digest = xxh64(std::as_bytes(std::span(table)), header.digest);
  std::memcpy(stored, table.data(), table.size() * 8);
  std::memcpy(stored + table.size() * 8, &digest, 8);
  write_file(copy.pack_path(), bytes);
  EXPECT_FALSE(same_bits(logits_of(copy.open(), mapping), logits_of(copy.open(), {})));
}

/// What has been done to a file must not show, but in its being refused.
void expect_refused(const CopiedModel& copy, const std::vector<char>& bytes, const std::vector<float>& expected,
                    bool by_header) {
  write_file(copy.pack_path(), bytes);
  const Checkpoint checkpoint = copy.open();
  if (by_header) {
    const PackFileState state = pack_file_state(checkpoint, {});
    EXPECT_FALSE(state.usable);
    EXPECT_NE(state.reason, "");
  }
  EXPECT_TRUE(same_bits(logits_of(checkpoint, mapping), expected));
}

TEST(PackFile, WithAWrongFieldIsRefused) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  copy.pack();
  const std::vector<char> good = read_file(copy.pack_path());
  const auto expected = logits_of(copy.open(), {});
  constexpr std::size_t n_fields = sizeof(PackHeader) / 8;
  for (std::size_t field = 0; field < n_fields; ++field) {
    std::uint64_t right;
    std::memcpy(&right, good.data() + field * 8, 8);
    for (const bool signed_anew : {false, true}) {
      for (const std::uint64_t value : {std::uint64_t{0}, right + 1, ~std::uint64_t{0}}) {
        SCOPED_TRACE(field);
        std::vector<char> bytes = good;
        std::memcpy(bytes.data() + field * 8, &value, 8);
        const std::uint64_t digest = xxh64(std::as_bytes(std::span(bytes)).first(offsetof(PackHeader, digest)));
        if (signed_anew && field + 1 < n_fields) std::memcpy(bytes.data() + offsetof(PackHeader, digest), &digest, 8);
        expect_refused(copy, bytes, expected, true);
      }
    }
  }
}

TEST(PackFile, CutAnywhereIsRefused) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  copy.pack();
  const std::vector<char> good = read_file(copy.pack_path());
  const auto expected = logits_of(copy.open(), {});
  const auto cut = [&](std::size_t size) {
    SCOPED_TRACE(size);
    std::vector<char> bytes = good;
    bytes.resize(size);
    expect_refused(copy, bytes, expected, true);
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, sizeof(PackHeader) - 1, sizeof(PackHeader)}) cut(size);
  for (std::size_t size = 4096; size < good.size(); size += std::max<std::size_t>(4096, good.size() / 40 / 4096 * 4096))
    cut(size);
  cut(good.size() - 8);
  cut(good.size() - 1);
  cut(good.size() + 1);
}

TEST(PackFile, WithAFlippedBitIsRefused) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  copy.pack();
  const std::vector<char> good = read_file(copy.pack_path());
  const auto expected = logits_of(copy.open(), {});
  PackHeader header;
  std::memcpy(&header, good.data(), sizeof header);
  std::vector<std::size_t> places = {0,
                                     9,
                                     sizeof header - 1,
                                     good.size() - 1,
                                     good.size() - 9,
                                     static_cast<std::size_t>(PackFile::data_offset + header.data_bytes)};
  // The first byte of every page of data: sections begin at pages.
  for (std::size_t i = PackFile::data_offset; i < PackFile::data_offset + header.data_bytes - 8192;
       i += std::max<std::size_t>(4096, header.data_bytes / 60 / 4096 * 4096))
    places.push_back(i);
  for (const std::size_t place : places) {
    SCOPED_TRACE(place);
    std::vector<char> bytes = good;
    bytes[place] ^= 1 << (place % 8);
    const bool in_data = place >= PackFile::data_offset && place < PackFile::data_offset + header.data_bytes;
    expect_refused(copy, bytes, expected, !in_data);
  }
}

TEST(PackFile, OfAChangedModelIsRefused) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  copy.pack();
  const fs::path weights = copy.model / "model.safetensors";
  const auto time = fs::last_write_time(weights);
  fs::last_write_time(weights, time + std::chrono::seconds(1));
  EXPECT_NE(pack_file_state(copy.open(), {}).reason.find("changed"), std::string::npos);
  fs::last_write_time(weights, time);
  EXPECT_TRUE(pack_file_state(copy.open(), {}).usable);
  // Other content, and the same size and time.
  std::vector<char> bytes = read_file(weights);
  for (std::size_t i = bytes.size() / 2; i < bytes.size(); ++i) bytes[i] ^= 1;
  write_file(weights, bytes);
  fs::last_write_time(weights, time);
  EXPECT_FALSE(pack_file_state(copy.open(), {}).usable);
}

TEST(PackFile, OfAnotherModelIsRefused) {
  const CopiedModel one("deepseek/models/tiny-v3"), other("deepseek/models/tiny-v3-yarn");
  // Both have the same weights, and files that are copied at once have the same time.
  const fs::path weights = other.model / "model.safetensors";
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::seconds(1));
  one.pack();
  const auto expected = logits_of(other.open(), {});
  fs::copy(one.pack_path(), other.pack_path());
  EXPECT_FALSE(pack_file_state(other.open(), {}).usable);
  EXPECT_TRUE(same_bits(logits_of(other.open(), mapping), expected));
}

TEST(PackFile, ThatIsNoFileIsRefused) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  const auto expected = logits_of(copy.open(), {});
  fs::create_directory(copy.pack_path());
  EXPECT_TRUE(same_bits(logits_of(copy.open(), mapping), expected));
  fs::remove(copy.pack_path());
  ASSERT_EQ(::mkfifo(copy.pack_path().c_str(), 0600), 0);
  EXPECT_TRUE(same_bits(logits_of(copy.open(), mapping), expected));
}

TEST(PackFile, IsWrittenAtTheFirstStartWhereAskedFor) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  const auto expected = logits_of(copy.open(), {});
  EXPECT_TRUE(same_bits(logits_of(copy.open(), mapping), expected));
  EXPECT_FALSE(fs::exists(copy.pack_path()));
  EXPECT_TRUE(same_bits(logits_of(copy.open(), {.pack_file = PackFileUse::write}), expected));
  EXPECT_TRUE(pack_file_state(copy.open(), {}).usable);
  EXPECT_TRUE(same_bits(logits_of(copy.open(), {.pack_file = PackFileUse::write}), expected));
}

TEST(PackFile, IsNotWrittenAgainWithoutNeed) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  copy.pack();
  const auto time = fs::last_write_time(copy.pack_path());
  copy.pack();
  EXPECT_EQ(fs::last_write_time(copy.pack_path()), time);
  copy.pack(true);
  EXPECT_NE(fs::last_write_time(copy.pack_path()), time);
}

TEST(PackFile, StopsWhenAskedTo) {
  const CopiedModel copy("deepseek/models/tiny-v3");
  ThreadTeam team(1);
  PackWriteOptions options;
  int calls = 0;
  options.progress = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_LT(done, total);
    return ++calls < 3;
  };
  EXPECT_THROW(write_pack_file(copy.open(), team, {}, options), Error);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(copy.model))
    files += entry.path().filename().string().find("moebox-pack") != std::string::npos;
  EXPECT_EQ(files, 0);
}

}  // namespace
}  // namespace moebox::test
