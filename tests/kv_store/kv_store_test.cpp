// The store by itself: what was written is found after a restart, and nothing else is ever found, whatever became of
// the files.
#include "kv_store/kv_store.h"

#include <csignal>
#include <thread>

#include <sys/resource.h>
#include <sys/stat.h>

#include "base/error.h"
#include "stores.h"

namespace moebox {
namespace {

using namespace test;

constexpr std::size_t block_bytes = 3000;

struct Block {
  Tokens tokens;
  std::vector<std::byte> content;
  BlockName name, parent;
  int n_prompt = 32;
  StoredBlock stored() const { return {name, parent, n_prompt, tokens}; }
};

/// A chain of blocks.
std::vector<Block> chain_of(const BlockStore& store, int n_blocks, unsigned seed, std::size_t bytes = block_bytes) {
  std::vector<Block> chain;
  std::mt19937 random(seed);
  BlockName parent = store.root(std::as_bytes(std::span("model", 5)));
  for (int i = 0; i < n_blocks; ++i) {
    Block block;
    block.tokens = tokens_of(kv_block_tokens, seed * 1000 + static_cast<unsigned>(i));
    block.content.resize(bytes);
    for (std::byte& byte : block.content) byte = static_cast<std::byte>(random());
    block.parent = parent;
    parent = block.name = store.name(parent, block.n_prompt, block.tokens);
    chain.push_back(std::move(block));
  }
  return chain;
}

/// Whether it is there; a content that is not what was written is a failure.
bool is_there(KvStore& store, const Block& block) {
  std::vector<std::byte> buffer;
  const auto found = store.read(block.stored(), block.content.size(), buffer);
  if (found.empty()) return false;
  EXPECT_TRUE(std::equal(found.begin(), found.end(), block.content.begin(), block.content.end()));
  return true;
}

int n_there(KvStore& store, const std::vector<Block>& chain) {
  int n = 0;
  for (const Block& block : chain) n += is_there(store, block) ? 1 : 0;
  return n;
}

class Store : public testing::TestWithParam<bool> {
 protected:
  std::string key() const { return GetParam() ? "correct horse battery staple" : ""; }
  /// To derive a key takes a tenth of a second.
  std::size_t hurry() const { return GetParam() ? 5 : 1; }
  std::shared_ptr<KvStore> open() const { return open_store(folder, key()); }
  std::vector<Block> fill(int n_blocks, unsigned seed = 1) const {
    const auto store = open();
    auto chain = chain_of(*store, n_blocks, seed);
    for (const Block& block : chain) EXPECT_TRUE(store->write(block.stored(), block.content));
    return chain;
  }
  TemporaryFolder above;
  const fs::path folder = above / "store";
};
INSTANTIATE_TEST_SUITE_P(Kv, Store, testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "encrypted" : "plain"); });

TEST_P(Store, WhatWasWrittenIsFoundAfterARestart) {
  const auto chain = fill(20);
  const auto store = open();
  EXPECT_EQ(store->stats().blocks, 20u);
  for (const Block& block : chain) {
    EXPECT_TRUE(store->contains(block.name));
    EXPECT_TRUE(is_there(*store, block));
  }
  EXPECT_EQ(chain_of(*store, 20, 1).back().name, chain.back().name);
  const std::uint64_t bytes = store->stats().bytes;
  EXPECT_TRUE(store->write(chain[3].stored(), chain[3].content));
  EXPECT_EQ(store->stats().bytes, bytes);  // it was there
  struct stat status{};
  ASSERT_EQ(::stat(folder.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0700u);
  for (const auto& entry : fs::directory_iterator(folder)) {
    ASSERT_EQ(::stat(entry.path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0600u) << entry.path();
  }
}

/// A name alone convinces nobody.
TEST_P(Store, EveryPartIsCompared) {
  const auto chain = fill(2);
  const auto found = [&](auto change) {
    const auto store = open();
    Block block = chain[1];
    change(block);
    std::vector<std::byte> buffer;
    return !store->read(block.stored(), block.content.size(), buffer).empty();
  };
  EXPECT_TRUE(found([](Block&) {}));
  EXPECT_FALSE(found([](Block& block) { block.tokens[31] ^= 1; }));
  EXPECT_FALSE(found([](Block& block) { block.n_prompt = 31; }));
  EXPECT_FALSE(found([](Block& block) { block.parent = block.name; }));
  EXPECT_FALSE(found([](Block& block) { block.content.resize(block_bytes - 1); }));
  EXPECT_FALSE(found([](Block& block) { block.name.bytes[0] ^= std::byte{1}; }));
  // And each enters the name.
  const auto store = open();
  Tokens other = chain[1].tokens;
  other[0] ^= 1;
  EXPECT_NE(store->name(chain[1].parent, 32, other), chain[1].name);
  EXPECT_NE(store->name(chain[1].parent, 31, chain[1].tokens), chain[1].name);
  EXPECT_NE(store->name(chain[0].parent, 32, chain[1].tokens), chain[1].name);
  EXPECT_NE(store->root(std::as_bytes(std::span("modem", 5))), chain[0].parent);
}

TEST_P(Store, AFileThatEndsAnywhereIsCutThere) {
  const auto chain = fill(3);
  const fs::path file = segments(folder).at(0);
  const std::string whole = content_of(file);
  const std::size_t record = (whole.size() - 64) / 3;
  for (std::size_t length = 0; length < whole.size(); length += (length % record < 200 ? 47 : 997) * hurry()) {
    overwrite(file, whole.substr(0, length));
    const auto store = open();
    const auto expected = length < 64 ? 0 : static_cast<int>((length - 64) / record);
    EXPECT_EQ(n_there(*store, chain), expected) << length;
    EXPECT_TRUE(store->write(chain[2].stored(), chain[2].content));
    EXPECT_EQ(n_there(*store, chain), expected + 1) << length;
    for (const fs::path& made : segments(folder))
      if (made != file) fs::remove(made);
  }
}

TEST_P(Store, ADamagedByteIsNeverUsed) {
  const auto chain = fill(2);
  const fs::path file = segments(folder).at(0);
  const std::string whole = content_of(file);
  int n_lost = 0;
  for (std::size_t at = 0; at < whole.size(); at += (at % 3000 < 260 ? 23 : 397) * hurry()) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << at % 8));
    overwrite(file, damaged);
    n_lost += 2 - n_there(*open(), chain);
    for (const fs::path& made : segments(folder))
      if (made != file) fs::remove(made);
  }
  EXPECT_GT(n_lost, 5);
  overwrite(file, whole);
  EXPECT_EQ(n_there(*open(), chain), 2);
}

/// Whatever order the folder lists its files in.
TEST_P(Store, WhatWasWrittenAgainIsFoundInsteadOfWhatIsDamaged) {
  const auto chain = fill(1);
  const fs::path first = segments(folder).at(0);
  std::string damaged = content_of(first);
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  const std::string right = content_of(first);
  for (const char* newest :
       {"0000000000000002.kv", "000000000000000a.kv", "00000000000000ff.kv", "0000000000010000.kv"}) {
    for (const fs::path& file : segments(folder)) fs::remove(file);
    for (const char* older : {"0000000000000001.kv", newest}) {
      overwrite(folder / older, older == newest ? right : damaged);
      fs::permissions(folder / older, fs::perms::owner_read | fs::perms::owner_write);
    }
    EXPECT_EQ(n_there(*open(), chain), 1) << newest;
    // Once more, made in the other order.
    fs::remove(folder / "0000000000000001.kv");
    overwrite(folder / "0000000000000001.kv", damaged);
    EXPECT_EQ(n_there(*open(), chain), 1) << newest;
  }
}

TEST_P(Store, AnotherKeyFindsNothingAndReplacesNothing) {
  const auto chain = fill(5);
  const std::uint64_t bytes = fs::file_size(segments(folder).at(0));
  {
    const auto other = open_store(folder, GetParam() ? "" : "another key");
    EXPECT_EQ(n_there(*other, chain), 0);
    EXPECT_NE(other->root({}), open_store(above / "else")->root({}));
  }
  EXPECT_EQ(fs::file_size(segments(folder).at(0)), bytes);
  EXPECT_EQ(n_there(*open(), chain), 5);
}

TEST_P(Store, TheFileUsedLongestAgoMakesRoom) {
  constexpr std::size_t large = 100'000;
  std::vector<std::vector<Block>> chains;
  {
    const auto store = open();
    for (unsigned i = 0; i < 30; ++i) {
      chains.push_back(chain_of(*store, 10, i + 1, large));
      for (const Block& block : chains.back()) EXPECT_TRUE(store->write(block.stored(), block.content));
      EXPECT_LE(store->stats().bytes, store->stats().capacity_bytes);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));  // times tell what was used when
      EXPECT_EQ(n_there(*store, chains.front()), 10) << i;        // for it is used all the time
    }
    EXPECT_EQ(n_there(*store, chains[1]), 0);
    EXPECT_EQ(n_there(*store, chains.back()), 10);
    EXPECT_GT(store->stats().removed_bytes, 10'000'000u);
    EXPECT_GT(store->generation(), 1u);
  }
  std::uint64_t on_disk = 0;
  for (const fs::path& file : segments(folder)) on_disk += fs::file_size(file);
  EXPECT_LE(on_disk, KvStoreOptions::least_capacity_bytes);
  EXPECT_EQ(n_there(*open(), chains.back()), 10);
}

TEST_P(Store, AFullDiskIsNoMoreThanAStoreThatKeepsNothing) {
  const auto chain = fill(10);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  const auto store = open();
  const auto more = chain_of(*store, 10, 2);
  rlimit tight = before;
  tight.rlim_cur = fs::file_size(segments(folder).at(0)) + block_bytes + 1000;  // the second one fits in half
  ::setrlimit(RLIMIT_FSIZE, &tight);
  EXPECT_TRUE(store->write(more[0].stored(), more[0].content));
  for (std::size_t i = 1; i < 10; ++i) EXPECT_FALSE(store->write(more[i].stored(), more[i].content));
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(n_there(*store, chain), 10);
  EXPECT_EQ(n_there(*store, more), 1);
  for (const Block& block : more) EXPECT_TRUE(store->write(block.stored(), block.content));
  EXPECT_EQ(n_there(*store, more), 10);
}

TEST_P(Store, ManyWriteAndReadAtOnce) {
  const auto store = open();
  std::vector<std::vector<Block>> chains;
  for (unsigned i = 0; i < 4; ++i) chains.push_back(chain_of(*store, 50, i + 1));
  std::vector<std::thread> threads;
  for (const auto& chain : chains) {
    threads.emplace_back([&] {
      for (const Block& block : chain) EXPECT_TRUE(store->write(block.stored(), block.content));
    });
    threads.emplace_back([&] {
      for (const Block& block : chain) EXPECT_TRUE(!store->contains(block.name) || is_there(*store, block));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& chain : chains) EXPECT_EQ(n_there(*store, chain), 50);
}

TEST(KvStoreFolder, TokensAreNotInTheFilesWhereThereIsAKey) {
  for (const bool encrypted : {false, true}) {
    TemporaryFolder above;
    const auto store = open_store(above / "store", encrypted ? "a key of this test" : "");
    const auto chain = chain_of(*store, 1, 1);
    store->write(chain[0].stored(), chain[0].content);
    const std::string file = content_of(segments(above / "store").at(0));
    const std::string tokens(reinterpret_cast<const char*>(chain[0].tokens.data()), 32 * sizeof(TokenId));
    const std::string bytes(reinterpret_cast<const char*>(chain[0].content.data()), 64);
    EXPECT_EQ(file.find(tokens) == std::string::npos, encrypted);
    EXPECT_EQ(file.find(bytes) == std::string::npos, encrypted);
  }
}

TEST(KvStoreFolder, OneProcessAtATime) {
  TemporaryFolder above;
  {
    const auto store = open_store(above / "store");
    try {
      open_store(above / "store");
      FAIL() << "two at once";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::resource);
      EXPECT_NE(std::string(error.what()).find("another process uses"), std::string::npos);
    }
  }
  open_store(above / "store");
}

ErrorKind refusal(const fs::path& folder, const std::string& key = "") {
  try {
    open_store(folder, key);
  } catch (const Error& error) {
    EXPECT_FALSE(error.where().empty());
    return error.kind();
  }
  ADD_FAILURE() << "it was opened: " << folder;
  return ErrorKind::internal;
}

TEST(KvStoreFolder, WhatCannotBeAStoreIsRefusedInWords) {
  TemporaryFolder above;
  EXPECT_EQ(refusal(above / "not/there"), ErrorKind::io);
  overwrite(above / "file", "text");
  EXPECT_EQ(refusal(above / "file"), ErrorKind::invalid_argument);
  EXPECT_EQ(refusal("/proc/self"), ErrorKind::io);  // nobody can make a file there
  fs::create_directory(above / "open");
  fs::permissions(above / "open", fs::perms::all);
  EXPECT_EQ(refusal(above / "open"), ErrorKind::invalid_argument);
  EXPECT_EQ(refusal(above / "short_key", "short"), ErrorKind::invalid_argument);
  EXPECT_THROW(KvStore({above / "small", 1000, ""}), Error);
  fs::create_directory(above / "linked");
  fs::permissions(above / "linked", fs::perms::owner_all);
  fs::create_symlink(above / "elsewhere", above / "linked" / "lock");
  EXPECT_EQ(refusal(above / "linked"), ErrorKind::io);
  EXPECT_FALSE(fs::exists(above / "elsewhere"));
}

TEST(KvStoreFolder, WhatIsNotOursIsLeftAlone) {
  TemporaryFolder above;
  const fs::path folder = above / "store";
  std::vector<Block> chain;
  {
    const auto store = open_store(folder);
    chain = chain_of(*store, 3, 1);
    for (const Block& block : chain) store->write(block.stored(), block.content);
  }
  overwrite(folder / "README", "not a segment");
  overwrite(folder / "0000000000000009.kv", "not a segment either, but called like one");
  overwrite(folder / "ffffffffffffffff.kv", "no number has one behind it");
  overwrite(above / "victim", "must not change");
  fs::create_symlink(above / "victim", folder / "0000000000000007.kv");
  fs::create_directory(folder / "0000000000000008.kv");
  ASSERT_EQ(::mkfifo((folder / "0000000000000006.kv").c_str(), 0600), 0);
  const auto store = open_store(folder);
  EXPECT_EQ(n_there(*store, chain), 3);
  const auto more = chain_of(*store, 100, 2, 200'000);  // more than fits
  for (const Block& block : more) store->write(block.stored(), block.content);
  EXPECT_TRUE(is_there(*store, more.back()));
  EXPECT_EQ(content_of(above / "victim"), "must not change");
  EXPECT_EQ(content_of(folder / "README"), "not a segment");
  EXPECT_TRUE(fs::is_symlink(folder / "0000000000000007.kv"));
}

TEST(KvStoreFolder, ADamagedSaltBeginsAnew) {
  TemporaryFolder above;
  const fs::path folder = above / "store";
  BlockName root;
  {
    const auto store = open_store(folder);
    root = store->root({});
  }
  EXPECT_EQ(open_store(folder)->root({}), root);
  overwrite(folder / "salt", "");
  const auto store = open_store(folder);
  EXPECT_NE(store->root({}), root);
  const auto chain = chain_of(*store, 3, 1);
  for (const Block& block : chain) EXPECT_TRUE(store->write(block.stored(), block.content));
  EXPECT_EQ(n_there(*store, chain), 3);
}

TEST(KvStoreFolder, TheKeyOfAFile) {
  TemporaryFolder above;
  overwrite(above / "key", "  the key\n\n");
  EXPECT_EQ(read_store_key(above / "key"), "the key");
  overwrite(above / "key", " \n");
  EXPECT_THROW(read_store_key(above / "key"), Error);
  overwrite(above / "key", std::string(100'000, 'k'));
  EXPECT_THROW(read_store_key(above / "key"), Error);
  EXPECT_THROW(read_store_key(above / "none"), Error);
  EXPECT_THROW(read_store_key("/dev/zero"), Error);
}

}  // namespace
}  // namespace moebox
