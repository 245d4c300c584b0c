#include "cli/conversation.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "base/error.h"

namespace moebox::cli {
namespace {

/// A token for each letter, and one for each message.
std::vector<TokenId> encode(const std::vector<ChatMessage>& messages) {
  std::size_t n = messages.size();
  for (const ChatMessage& message : messages) n += message.content.size();
  return std::vector<TokenId>(n, 1);
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "moebox-cli-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
  std::filesystem::path path;
};

void write(const std::string& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

Conversation talk() {
  Conversation conversation;
  conversation.system = "be brief";
  conversation.add("user", "q1");
  conversation.add("assistant", "a1");
  conversation.add("user", "q2");
  conversation.add("assistant", "a2");
  conversation.add("user", "q3");
  return conversation;
}

TEST(Conversation, ForgetsTheOldestPairsUntilItFits) {
  Conversation conversation = talk();
  int dropped = 0;
  int needed = 0;
  EXPECT_EQ(conversation.encode_within(24, encode, dropped, needed).size(), 24u);
  EXPECT_EQ(dropped, 0);
  EXPECT_EQ(conversation.encode_within(23, encode, dropped, needed).size(), 18u);
  EXPECT_EQ(dropped, 2);
  EXPECT_EQ(conversation.turns().front().content, "q2");
  EXPECT_EQ(conversation.encode_within(12, encode, dropped, needed).size(), 12u);
  EXPECT_EQ(dropped, 2);
  EXPECT_EQ(conversation.messages().size(), 2u);
}

TEST(Conversation, SaysHowLongALastMessageIsThatDoesNotFit) {
  Conversation conversation = talk();
  int dropped = 0;
  int needed = 0;
  EXPECT_TRUE(conversation.encode_within(11, encode, dropped, needed).empty());
  EXPECT_EQ(needed, 12);
  EXPECT_EQ(conversation.turns().size(), 1u);
}

TEST(Conversation, IsReadAsItWasWritten) {
  const TemporaryFolder folder;
  Conversation written = talk();
  written.add("assistant", "你好 \"quoted\" \\ \n 👋 \xff");
  written.save(folder.file("talk.json"), "some-model");
  Conversation read;
  read.load(folder.file("talk.json"));
  EXPECT_EQ(read.system, "be brief");
  ASSERT_EQ(read.turns().size(), 6u);
  EXPECT_EQ(read.turns()[1].role, "assistant");
  EXPECT_EQ(read.turns()[5].content, "你好 \"quoted\" \\ \n 👋 \ufffd");
  EXPECT_FALSE(std::filesystem::exists(folder.file("talk.json.part")));
}

TEST(Conversation, RefusesOtherFilesAndStaysAsItWas) {
  const TemporaryFolder folder;
  Conversation conversation = talk();
  const auto refused = [&](const std::string& text, ErrorKind kind) {
    write(folder.file("bad.json"), text);
    try {
      conversation.load(folder.file("bad.json"));
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << text;
      EXPECT_EQ(error.where(), folder.file("bad.json"));
      // In words, not in the names of the library.
      for (const char* name : {"json.exception", "parse error", "while parsing"})
        EXPECT_EQ(error.message().find(name), std::string::npos) << error.message();
    }
  };
  refused("{\"messages\": [", ErrorKind::invalid_file);
  refused("{\"messages\": [\"\xff\"]}", ErrorKind::invalid_file);
  refused("{\"messages\": 1e999}", ErrorKind::invalid_file);
  refused("", ErrorKind::invalid_file);
  refused("[]", ErrorKind::invalid_file);
  refused("{\"messages\": 3}", ErrorKind::invalid_file);
  refused("{\"messages\": [3]}", ErrorKind::invalid_file);
  refused("{\"messages\": [{\"role\": \"user\"}]}", ErrorKind::invalid_file);
  refused("{\"messages\": [{\"role\": \"root\", \"content\": \"x\"}]}", ErrorKind::invalid_file);
  refused(std::string(100000, '['), ErrorKind::invalid_file);
  refused(std::string(100000, '[') + std::string(100000, ']'), ErrorKind::invalid_file);
  std::string many = "{\"messages\": [{}";
  for (int i = 0; i < 300000; ++i) many += ",{}";
  refused(many + "]}", ErrorKind::invalid_file);
  refused("{\"messages\": " + std::string(50, '[') + std::string(50, ']') + "}", ErrorKind::invalid_file);
  try {
    conversation.load(folder.file("nothing.json"));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::not_found);
  }
  EXPECT_EQ(conversation.turns().size(), 5u);
}

}  // namespace
}  // namespace moebox::cli
