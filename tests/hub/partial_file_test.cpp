// Partial files and digests: continued only when they belong, named only when whole. Checksums compare with git and
// hashlib.
#include "hub/partial_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "hub/support.h"

namespace moebox::test {
namespace {

const std::string hello_sha256 =
    "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";    // echo -n hello | sha256sum
const std::string hello_git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";  // echo -n hello | git hash-object --stdin

FileIdentity hello() { return {5, Digest::from_hex(hello_sha256), "\"tag\""}; }

TEST(Digest, KnownAnswers) {
  Hasher sha(DigestKind::sha256, 0);
  sha.update("hel");
  sha.update("lo");
  EXPECT_EQ(sha.finish(), hello_sha256);
  Hasher git(DigestKind::git_blob, 5);
  git.update("hello");
  EXPECT_EQ(git.finish(), hello_git);
  EXPECT_EQ(Hasher(DigestKind::none, 5).finish(), "");
}

TEST(Digest, KindFollowsFromLength) {
  EXPECT_EQ(Digest::from_hex(hello_sha256).kind, DigestKind::sha256);
  EXPECT_EQ(Digest::from_hex(hello_git).kind, DigestKind::git_blob);
  EXPECT_EQ(Digest::from_hex("ABCDEF0123456789ABCDEF0123456789ABCDEF01").hex,
            "abcdef0123456789abcdef0123456789abcdef01");
  for (const char* bad :
       {"", "abc", "../../../../../../../../../../../../../../x", "zzzz4c620b67d95f953a5c1c1230aaab5db5a1b0"}) {
    EXPECT_EQ(Digest::from_hex(bad).kind, DigestKind::none) << bad;
  }
}

TEST(PartialFile, GetsItsNameOnlyWhenWhole) {
  TempFolder folder;
  PartialFile part(folder / "x", hello());
  part.append("hel");
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
  part.append("lo");
  part.commit();
  EXPECT_EQ(read_file(folder / "x"), "hello");
  EXPECT_EQ(names_below(folder.path()), std::vector<std::string>{"x"});
}

TEST(PartialFile, ContinuesWhatBelongs) {
  TempFolder folder;
  PartialFile(folder / "x", hello()).append("hel");
  PartialFile part(folder / "x", hello());
  EXPECT_EQ(part.size_bytes(), 3u);
  part.append("lo");
  EXPECT_EQ(part.commit(), hello_sha256);
}

TEST(PartialFile, BeginsAnewWhenSomethingChanged) {
  const FileIdentity others[] = {
      {6, Digest::from_hex(hello_sha256), "\"tag\""}, {5, Digest::from_hex(hello_git), "\"tag\""}, {5, {}, "\"tag\""}};
  for (const FileIdentity& other : others) {
    TempFolder folder;
    PartialFile(folder / "x", hello()).append("hel");
    EXPECT_EQ(PartialFile(folder / "x", other).size_bytes(), 0u);
  }
}

TEST(PartialFile, WithoutADigestTheTagDecides) {
  TempFolder folder;
  PartialFile(folder / "x", {5, {}, "\"one\""}).append("hel");
  EXPECT_EQ(PartialFile(folder / "x", {5, {}, "\"one\""}).size_bytes(), 3u);
  EXPECT_EQ(PartialFile(folder / "x", {5, {}, "\"two\""}).size_bytes(), 0u);
  PartialFile(folder / "y", {5, {}, ""}).append("hel");
  EXPECT_EQ(PartialFile(folder / "y", {5, {}, ""}).size_bytes(), 0u) << "nothing tells that it is the same file";
}

TEST(PartialFile, HostileStateIsIgnored) {
  for (const std::string state : {"", "{", "[]", "{\"size_bytes\": \"5\"}", "{\"size_bytes\": -1, \"digest\": 3}"}) {
    TempFolder folder;
    write_file(folder / "x.part", "hel");
    write_file(folder / "x.part.json", state);
    EXPECT_EQ(PartialFile(folder / "x", hello()).size_bytes(), 0u) << state;
  }
}

TEST(PartialFile, TooManyBytesOnDiskBeginAnew) {
  TempFolder folder;
  {
    PartialFile part(folder / "x", hello());
  }
  write_file(folder / "x.part", "hello and more");
  EXPECT_EQ(PartialFile(folder / "x", hello()).size_bytes(), 0u);
}

TEST(PartialFile, RefusesMoreThanAnnounced) {
  TempFolder folder;
  PartialFile part(folder / "x", hello());
  part.append("hell");
  error_of(ErrorKind::network, [&] { part.append("oh"); });
}

TEST(PartialFile, WrongBytesAreThrownAway) {
  TempFolder folder;
  PartialFile part(folder / "x", hello());
  part.append("jello");
  expect_in(error_of(ErrorKind::network, [&] { part.commit(); }), hello_sha256);
  EXPECT_TRUE(names_below(folder.path()).empty());
}

TEST(PartialFile, FollowsNoLinks) {
  TempFolder folder;
  write_file(folder / "victim", "precious");
  std::filesystem::create_symlink(folder / "victim", folder / "x.part");
  error_of(ErrorKind::io, [&] { PartialFile(folder / "x", hello()); });
  EXPECT_EQ(read_file(folder / "victim"), "precious");
}

TEST(PartialFile, FullDiskIsSaid) {
  const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const std::string text = error_of(ErrorKind::io, [&] { write_all(fd, "x", "model.gguf.part"); });
  close(fd);
  expect_in(text, "disk is full");
  expect_in(text, "model.gguf.part");
  expect_in(text, "MOEBOX_STORE");
}

TEST(PartialFile, FreeSpaceIsAskedBefore) {
  TempFolder folder;
  check_free_space(folder.path(), 1);
  expect_in(error_of(ErrorKind::io, [&] { check_free_space(folder.path(), std::uint64_t{1} << 60); }), "needed");
}

}  // namespace
}  // namespace moebox::test
