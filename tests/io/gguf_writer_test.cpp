// What the writer writes, the reader (which is checked against the gguf package's files) reads; and files that are
// there whole or not at all.
#include "io/gguf_writer.h"

#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/checkpoint.h"
#include "io/io_testing.h"

namespace moebox::test {
namespace {

std::size_t files_in(const TemporaryFolder& folder) {
  const std::filesystem::directory_iterator all(folder.path());
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

void write_gguf(const std::filesystem::path& path, const GgufHeader& header, std::string_view data,
                bool replace = false) {
  OutputFile file(path, replace);
  GgufStream stream(file, header);
  stream.write(std::as_bytes(std::span(data)));
  stream.finish();
  file.commit();
}

TEST(GgufWriter, WritesEveryKindOfValue) {
  const TemporaryFolder folder;
  GgufHeader header;
  const std::vector<std::string> strings = {"a", "", "\xe4\xbd\xa0"};
  const std::vector<std::int32_t> integers = {-1, 2};
  const std::vector<float> numbers = {0.5f};
  header.set_string("general.architecture", "first");
  header.set_u32("x.u32", 4'000'000'000u);
  header.set_f32("x.f32", -1.5f);
  header.set_bool("x.bool", true);
  header.set_strings("x.strings", strings);
  header.set_i32s("x.i32s", integers);
  header.set_f32s("x.f32s", numbers);
  header.set_u8s("x.u8s", "\x01\xff");
  header.set_string("general.architecture", "second");
  write_gguf(folder / "a.gguf", header, "");

  const Checkpoint read = Checkpoint::open(folder / "a.gguf");
  EXPECT_EQ(read.metadata().size(), 8u);
  EXPECT_EQ(read.encoded_metadata().front().key, "general.architecture");
  EXPECT_EQ(read.string("general.architecture"), "second");
  EXPECT_EQ(read.integer("x.u32"), 4'000'000'000);
  EXPECT_EQ(read.number("x.f32"), -1.5);
  EXPECT_TRUE(read.boolean("x.bool"));
  EXPECT_EQ(std::get<std::vector<std::string_view>>(*read.find("x.strings")),
            (std::vector<std::string_view>{"a", "", "\xe4\xbd\xa0"}));
  EXPECT_EQ(std::get<std::vector<std::int64_t>>(*read.find("x.i32s")), (std::vector<std::int64_t>{-1, 2}));
  EXPECT_EQ(std::get<std::vector<double>>(*read.find("x.f32s")), (std::vector<double>{0.5}));
  EXPECT_EQ(std::get<std::vector<std::int64_t>>(*read.find("x.u8s")), (std::vector<std::int64_t>{1, 255}));

  GgufHeader copy;  // bit for bit
  for (const GgufPair& pair : read.encoded_metadata()) copy.set_encoded(pair.key, pair.value);
  EXPECT_EQ(copy.bytes(), header.bytes());
}

TEST(GgufWriter, PadsTensorsAndKeepsTheirShapes) {
  const TemporaryFolder folder;
  GgufHeader header;
  header.set_string("general.architecture", "x");
  header.add_tensor("vector", DType::f32, std::vector<std::int64_t>{3});
  header.add_tensor("matrix", DType::q8_0, std::vector<std::int64_t>{2, 64});
  OutputFile file(folder / "t.gguf", false);
  GgufStream stream(file, header);
  const std::string twelve(12, '\x01'), rest(2 * 68, '\x02');
  stream.write(std::as_bytes(std::span(twelve)));
  EXPECT_THROW(stream.finish(), Error);
  stream.write(std::as_bytes(std::span(rest)).first(50));
  stream.write(std::as_bytes(std::span(rest)).subspan(50));
  EXPECT_THROW(stream.write(std::as_bytes(std::span(twelve))), Error);
  stream.finish();
  file.commit();
  const Checkpoint read = Checkpoint::open(folder / "t.gguf");
  ASSERT_EQ(read.tensors().size(), 2u);
  EXPECT_EQ(shape_text(read.tensor("matrix")), "(2, 64)");
  EXPECT_EQ(read.tensor("vector").data.front(), std::byte{1});
  EXPECT_EQ(read.tensor("matrix").data.size(), rest.size());
  EXPECT_EQ(read.tensor("matrix").data.back(), std::byte{2});
  EXPECT_EQ(read.file_bytes() % GgufHeader::alignment, 0u);
}

TEST(GgufWriter, RefusesTensorsThatCannotBe) {
  GgufHeader header;
  const std::vector<std::int64_t> shape = {4, 32};
  header.add_tensor("a", DType::f32, shape);
  expect_error(ErrorKind::invalid_argument, {"two tensors", "'a'"}, [&] { header.add_tensor("a", DType::f32, shape); });
  expect_error(ErrorKind::invalid_argument, {"64"},
               [&] { header.add_tensor(std::string(64, 'x'), DType::f32, shape); });
  expect_error(ErrorKind::invalid_argument, {"F8_E4M3"}, [&] { header.add_tensor("b", DType::f8_e4m3, shape); });
  EXPECT_THROW(header.add_tensor("c", DType::q4_k, shape), Error);
  const std::vector<std::int64_t> huge = {INT64_MAX, 32}, deep = {1, 1, 1, 1, 1};
  EXPECT_THROW(header.add_tensor("d", DType::f32, huge), Error);
  EXPECT_THROW(header.add_tensor("e", DType::f32, deep), Error);
}

TEST(OutputFile, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  {
    OutputFile file(folder / "x", false);
    file.write(std::as_bytes(std::span("half", 4)));
    EXPECT_FALSE(std::filesystem::exists(folder / "x"));
    EXPECT_LE(files_in(folder), 1u) << "none where the file system knows files without a name";
  }
  EXPECT_EQ(files_in(folder), 0u);
}

TEST(OutputFile, ReplacesOnlyWhenAsked) {
  const TemporaryFolder folder;
  write_file(folder / "x", "old");
  expect_error(ErrorKind::invalid_argument, {"there already"}, [&] { OutputFile(folder / "x", false); });
  expect_error(ErrorKind::invalid_argument, {"folder"}, [&] { OutputFile(folder.path(), true); });
  expect_error(ErrorKind::io, {"cannot be made"}, [&] { OutputFile(folder / "none" / "x", false); });
  {
    OutputFile file(folder / "x", true);
    file.reserve(1000);
    file.write(std::as_bytes(std::span("new", 3)));
    EXPECT_EQ(read_file(folder / "x"), "old");
    file.commit();
  }
  EXPECT_EQ(read_file(folder / "x"), "new");
  EXPECT_EQ(files_in(folder), 1u);
  // What somebody of the same process number left does not stand in the way.
  write_file(folder / ("x." + std::to_string(::getpid()) + ".tmp"), "left");
  OutputFile again(folder / "x", true);
  again.write(std::as_bytes(std::span("newer", 5)));
  again.commit();
  EXPECT_EQ(read_file(folder / "x"), "newer");
  // Somebody else was quicker.
  OutputFile late(folder / "y", false);
  write_file(folder / "y", "theirs");
  expect_error(ErrorKind::invalid_argument, {"there already"}, [&] { late.commit(); });
  EXPECT_EQ(read_file(folder / "y"), "theirs");
}

// Its name would become that of the new file: of /dev/full, say.
TEST(OutputFile, TakesNoPipesName) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const bool replace : {false, true})
    expect_error(ErrorKind::invalid_argument, {"pipe"}, [&] { OutputFile(folder / "pipe", replace); });
  EXPECT_TRUE(std::filesystem::is_fifo(folder / "pipe"));
}

// A disk that is full, by the limit on a file's size: reserving tells it at once, writing tells it later.
TEST(OutputFile, SaysThatThereIsNoRoomAndLeavesNothing) {
  const TemporaryFolder folder;
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit small = old;
  small.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_error(ErrorKind::io, {"cannot be written", "too large"},
               [&] { OutputFile(folder / "x", false).reserve(1 << 20); });
  const std::string data(8192, 'x');
  expect_error(ErrorKind::io, {"cannot be written"},
               [&] { OutputFile(folder / "x", false).write(std::as_bytes(std::span(data))); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, previous);
  EXPECT_EQ(files_in(folder), 0u);
}

}  // namespace
}  // namespace moebox::test
