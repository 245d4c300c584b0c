// Sources as text: what they mean, and that nothing in them can leave its folder or become an option of a program.
#include "hub/source.h"

#include "hub/support.h"

namespace moebox::test {
namespace {

TEST(Source, Hub) {
  const auto whole = std::get<HfSource>(parse_source("hf:Qwen/Qwen2.5-0.5B-Instruct"));
  EXPECT_EQ(whole.owner, "Qwen");
  EXPECT_EQ(whole.repo, "Qwen2.5-0.5B-Instruct");
  EXPECT_EQ(whole.file, "");
  EXPECT_EQ(whole.revision, "main");
  const auto file = std::get<HfSource>(parse_source("hf:o/r/sub/x.gguf@refs/pr/1"));
  EXPECT_EQ(file.file, "sub/x.gguf");
  EXPECT_EQ(file.revision, "refs/pr/1");
}

TEST(Source, Pip) {
  const auto source = std::get<PipSource>(parse_source("pip:a-b==1.0+c==2!3.0rc1#m/{n}-{nn}.bin"));
  ASSERT_EQ(source.packages.size(), 2u);
  EXPECT_EQ(source.packages[0].name, "a-b");
  EXPECT_EQ(source.packages[1].version, "2!3.0rc1");
  EXPECT_EQ(source.member_of(0), "m/1-01.bin");
  EXPECT_EQ(source.member_of(10), "m/11-11.bin");
}

TEST(Source, Path) {
  EXPECT_EQ(std::get<PathSource>(parse_source("/models/x.gguf")).path, "/models/x.gguf");
  const EnvironmentVariable home("HOME", "/home/somebody");
  EXPECT_EQ(std::get<PathSource>(parse_source("~/x.gguf")).path, "/home/somebody/x.gguf");
}

TEST(Source, RefusesWhatCouldEscape) {
  const char* const cases[] = {
      "",
      "hf:",
      "hf:owner",
      "hf:/repo",
      "hf:owner/",
      "hf:../repo",
      "hf:owner/..",
      "hf:owner/repo/",
      "hf:owner/repo/../x",
      "hf:owner/repo//x",
      "hf:owner/repo/a/../../x",
      "hf:owner/repo/a\\b",
      "hf:owner/repo/-x",
      "hf:owner/repo@",
      "hf:owner/repo@../x",
      "hf:owner/repo@a//b",
      "hf:own er/repo",
      "hf:owner/re\npo",
      "hf:owner/repo/a\r\nHost: x",
      "hf:owner/repo@main?x",
      "hf:-o/repo",
      "pip:",
      "pip:a==1",
      "pip:a#x",
      "pip:a>=1#x",
      "pip:-r==1#x",
      "pip:a==#x",
      "pip:==1#x",
      "pip:a==-1#x",
      "pip:a==1+#x",
      "pip:a==1#",
      "pip:a==1#../x",
      "pip:a==1#/etc/passwd",
      "pip:a==1#x/../../y",
      "pip:a b==1#x",
      "pip:a==1;x#y",
      "pip:a @ file:///x==1#y",
  };
  for (const char* text : cases) {
    SCOPED_TRACE(text);
    error_of(ErrorKind::invalid_argument, [&] { parse_source(text); });
  }
  error_of(ErrorKind::invalid_argument, [&] { parse_source("hf:o/r/" + std::string(5000, 'a')); });
  error_of(ErrorKind::invalid_argument, [&] { parse_source(std::string("a\0b", 3)); });
}

TEST(Source, SafeNames) {
  for (const char* good : {"a", "a.gguf", "model-00001-of-00002.safetensors", "ü", "..a"})
    EXPECT_TRUE(is_safe_file_name(good)) << good;
  for (const char* bad : {"", ".", "..", "a/b", "a\\b", "-a", "a\nb", "a\x7f"})
    EXPECT_FALSE(is_safe_file_name(bad)) << bad;
  EXPECT_FALSE(is_safe_file_name(std::string(201, 'a')));
  EXPECT_TRUE(is_safe_relative_path("a/b/c"));
  for (const char* bad : {"/a", "a/", "a//b", "a/../b", "./a", "a/."}) EXPECT_FALSE(is_safe_relative_path(bad)) << bad;
}

TEST(Source, MessagesCarryNoControlCharacters) {
  EXPECT_EQ(printable("a\x1b[31mb\nc"), "a[31mbc");
  EXPECT_EQ(printable(std::string(400, 'x')), std::string(300, 'x') + "...");
}

}  // namespace
}  // namespace moebox::test
