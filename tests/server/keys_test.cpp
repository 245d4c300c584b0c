#include "server/keys.h"

#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

namespace moebox {
namespace {

class KeyFile : public ::testing::Test {
 protected:
  std::vector<ApiKey> read(const std::string& text) {
    std::ofstream(path_) << text;
    return read_key_file(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  const std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("moebox_keys_" + std::to_string(::getpid()));
};

TEST_F(KeyFile, SaysWhyItCannotBeRead) {
  const auto kind = [](const std::filesystem::path& path) {
    try {
      read_key_file(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.where(), path.string());
      return error.kind();
    }
    return ErrorKind::internal;
  };
  EXPECT_EQ(kind("/no/such/file"), ErrorKind::not_found);
  EXPECT_EQ(kind(std::filesystem::temp_directory_path()), ErrorKind::io);
}

TEST_F(KeyFile, ReadsPlainAndHashedKeys) {
  const auto keys = read(
      "# who may call\n\nalice: secret-one "
      "\r\nbob:sha256:3dd75bf3d8f27a2db6fe2ab5b4c6ba5ad3e5c1d2de30f4dabd3ba6f1ec3d9ce4\n");
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(keys[0].name, "alice");
  EXPECT_EQ(keys[0].sha256, sha256("secret-one"));
  EXPECT_EQ(keys[1].sha256.size(), 32u);
  EXPECT_EQ(static_cast<unsigned char>(keys[1].sha256[0]), 0x3d);
}

TEST_F(KeyFile, RefusesKeysThatAreNone) {
  for (const char* bad :
       {"", "# nothing\n", "alice:\n", "alice: \n", "alice\n", ":secret-one\n", "alice:short\n",
        "alice:has blanks in it\n", "alice:sha256:12\n", "alice:sha256:\n", "a:secret-one\na:secret-two\n"}) {
    EXPECT_THROW(read(bad), Error) << bad;
  }
}

TEST_F(KeyFile, ErrorsNeverShowAKey) {
  try {
    read("alice:hunter2\n");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find("hunter2"), std::string::npos);
    EXPECT_NE(error.where().find("line 1"), std::string::npos);
  }
}

TEST(Keys, Sha256IsSha256) {
  // FIPS 180-4's example "abc".
  const unsigned char expected[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                    0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                    0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
  EXPECT_EQ(sha256("abc"), std::string(reinterpret_cast<const char*>(expected), sizeof expected));
}

TEST(Keys, FindsTheCaller) {
  const Keys keys({{"alice", sha256("secret-one")}, {"bob", sha256("secret-two")}});
  EXPECT_EQ(keys.find("Bearer secret-two"), 1);
  EXPECT_EQ(keys.find("bearer  secret-one "), 0);
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer secret", "Bearer secret-one2", "Basic secret-one",
                          "secret-one", "Bearer secret-one, Bearer x"}) {
    EXPECT_FALSE(keys.find(bad)) << bad;
  }
  EXPECT_FALSE(Keys(std::vector<ApiKey>{}).find("Bearer "));
  EXPECT_FALSE(Keys(std::vector<ApiKey>{{"empty", ""}}).find("Bearer x")) << "a missing digest matches nothing";
}

TEST(Keys, ComeFromTheEnvironment) {
  ::unsetenv("MOEBOX_API_KEY");
  EXPECT_TRUE(keys_from_environment().empty());
  ::setenv("MOEBOX_API_KEY", "environment-key", 1);
  EXPECT_EQ(keys_from_environment().at(0).sha256, sha256("environment-key"));
  for (const char* bad : {"", "   ", "short"}) {
    ::setenv("MOEBOX_API_KEY", bad, 1);
    EXPECT_THROW(keys_from_environment(), Error) << '"' << bad << '"';
  }
  ::unsetenv("MOEBOX_API_KEY");
}

}  // namespace
}  // namespace moebox
