// Templates of Hugging Face folders: where they stand, and files that are not what they should be.
#include <gtest/gtest.h>

#include "chat/chat_template.h"
#include "chat/golden_chat.h"
#include "io/checkpoint.h"
#include "io/io_testing.h"

namespace moebox {
namespace {

using golden::Json;
using test::expect_error;

class Folder {
 public:
  Folder() {
    const std::filesystem::path model = MOEBOX_TEST_DIR "/golden/transformers/models/llama_gqa";
    for (const char* file : {"config.json", "model.safetensors"})
      std::filesystem::copy_file(model / file, folder_ / file);
    std::filesystem::copy_file(MOEBOX_TEST_DIR "/golden/tokenizer/small_bpe.json", folder_ / "tokenizer.json");
  }
  Folder& add(const char* name, const std::string& content) {
    test::write_file(folder_ / name, content);
    return *this;
  }
  Folder& add(const char* name, const Json& content) { return add(name, content.dump()); }
  bool available() const { return ChatTemplate::available(Checkpoint::open(folder_.path())); }
  /// The prompt for one message, "x".
  std::string prompt() const {
    const Checkpoint checkpoint = Checkpoint::open(folder_.path());
    return ChatTemplate::load(checkpoint, *Tokenizer::load(checkpoint)).render({{"user", "x", nullptr}});
  }

 private:
  test::TemporaryFolder folder_;
};

const std::string kTemplate = "{{ bos_token }}1{{ messages[0].content }}{{ eos_token }}";

TEST(TemplateFolder, WhereATemplateStands) {
  Folder folder;
  EXPECT_FALSE(folder.available());
  expect_error(ErrorKind::not_found, {"no chat template"}, [&] { folder.prompt(); });
  folder.add("tokenizer_config.json",
             Json{{"chat_template", kTemplate}, {"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}});
  EXPECT_TRUE(folder.available());
  EXPECT_EQ(folder.prompt(), "<s>1x</s>");
  folder.add("chat_template.json", Json{{"chat_template", "2{{ messages[0].content }}"}});
  EXPECT_EQ(folder.prompt(), "2x");
  folder.add("chat_template.jinja", std::string("3{{ messages[0].content }}"));
  EXPECT_EQ(folder.prompt(), "3x");
}

TEST(TemplateFolder, OfNamedTemplatesTheDefault) {
  Folder folder;
  folder.add("tokenizer_config.json", Json{{"chat_template", Json::array({{{"name", "tool_use"}, {"template", "t"}},
                                                                          {{"name", "default"}, {"template", "d"}}})}});
  EXPECT_EQ(folder.prompt(), "d");
}

TEST(TemplateFolder, FilesThatAreNotWhatTheyShouldBe) {
  Folder folder;
  const Json one = {{"name", "default"}, {"template", 5}}, two = {{"name", 5}, {"template", "t"}};
  for (const Json& bad : {Json(5), Json::object(), Json::array(), Json::array({5}), Json::array({one}),
                          Json::array({two}), Json::array({{{"name", "default"}}})}) {
    folder.add("tokenizer_config.json", Json{{"chat_template", bad}});
    EXPECT_FALSE(folder.available()) << bad;
  }
  folder.add("tokenizer_config.json", Json::array({1}));
  EXPECT_FALSE(folder.available());
  folder.add("tokenizer_config.json", std::string("{\"chat_template\": "));
  expect_error(ErrorKind::invalid_file, {"tokenizer_config.json"}, [&] { folder.available(); });
}

}  // namespace
}  // namespace moebox
