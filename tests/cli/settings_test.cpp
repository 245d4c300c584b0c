#include "cli/settings.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"

namespace moebox::cli {
namespace {

/// A variable for as long as it lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Variable() { ::unsetenv(name_); }

 private:
  const char* name_;
};

class SettingsTest : public testing::Test {
 protected:
  SettingsTest() {
    std::string name = (std::filesystem::temp_directory_path() / "moebox-settings-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    file_ = (folder_ / "config.toml").string();
  }
  ~SettingsTest() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& text) { std::ofstream(file_) << text; }
  Settings load() {
    Settings settings;
    settings.load(file_);
    return settings;
  }
  /// The error of reading `text` as the file.
  Error refused(const std::string& text) {
    write(text);
    try {
      load();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "accepted: " << text;
    return Error(ErrorKind::internal, "");
  }

  std::filesystem::path folder_;
  std::string file_;
};

TEST_F(SettingsTest, TheTableHoldsTogether) {
  Settings settings;
  std::set<std::string> keys, variables;
  for (const Setting& setting : setting_table()) {
    EXPECT_TRUE(keys.insert(std::string(setting.key)).second) << setting.key;
    EXPECT_TRUE(variables.insert(environment_name(setting)).second) << setting.key;
    EXPECT_FALSE(setting.help.empty()) << setting.key;
    const bool may_be_empty = setting.type == SettingType::text || setting.type == SettingType::path ||
                              setting.type == SettingType::text_list;
    if (!may_be_empty || !setting.fallback.empty()) {
      EXPECT_NO_THROW(settings.set(setting.key, setting.fallback, Origin::fallback, "test")) << setting.key;
    }
  }
}

TEST_F(SettingsTest, OptionBeforeEnvironmentBeforeFileBeforeDefault) {
  write("temperature = 0.1\n[server]\nport = 1111\nkeep_alive = \"2m\"\n");
  EXPECT_EQ(Settings().number("temperature"), 0.7);
  Settings settings = load();
  EXPECT_EQ(settings.number("temperature"), 0.1);
  EXPECT_EQ(settings.value("temperature").place, file_ + ":1");
  EXPECT_EQ(settings.integer("server.port"), 1111);
  EXPECT_EQ(settings.duration("server.keep_alive"), std::chrono::minutes(2));
  const Variable temperature("MOEBOX_TEMPERATURE", "0.2");
  const Variable port("MOEBOX_SERVER_PORT", "2222");
  settings = load();
  EXPECT_EQ(settings.number("temperature"), 0.2);
  EXPECT_EQ(settings.value("temperature").place, "MOEBOX_TEMPERATURE");
  EXPECT_EQ(settings.integer("server.port"), 2222);
  // Options are parsed before the file is read, and win all the same.
  Settings with_option;
  with_option.set("temperature", "0.3", Origin::option, "--temperature");
  with_option.load(file_);
  EXPECT_EQ(with_option.number("temperature"), 0.3);
  EXPECT_EQ(with_option.value("temperature").origin, Origin::option);
}

TEST_F(SettingsTest, ATypoNamesTheNearestKeyAndTheLine) {
  const Error error = refused("model = \"x\"\ntemprature = 0.5\n");
  EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
  EXPECT_EQ(error.where(), file_ + ":2");
  EXPECT_EQ(error.hint(), "did you mean 'temperature'?");
  EXPECT_EQ(refused("[server]\nprot = 1\n").hint(), "did you mean 'server.port'?");
  EXPECT_EQ(refused("[sever]\nport = 1\n").hint(), "did you mean 'server.port'?");
}

TEST_F(SettingsTest, ValuesAreCheckedWhereverTheyComeFrom) {
  EXPECT_EQ(refused("temperature = 1000\n").where(), file_ + ":1: temperature");
  for (const std::string text : {"temperature = \"hot\"",
                                 "threads = 1.5",
                                 "threads = -1",
                                 "top_p = 2",
                                 "kv_type = \"f8\"",
                                 "seed = -1",
                                 "color = true",
                                 "kv_memory = \"12 apples\"",
                                 "temperature = nan",
                                 "temperature = inf",
                                 "model = {a = 1}",
                                 "catalogue = [1, 2]",
                                 "[server]\nport = 70000",
                                 "[server]\nkeep_alive = \"soon\"",
                                 "= 1",
                                 "a = ",
                                 "\"",
                                 "[=",
                                 "[",
                                 "[server.port]\nx = 1"}) {
    EXPECT_EQ(refused(text).kind(), ErrorKind::invalid_argument) << text;
  }
  const Variable threads("MOEBOX_THREADS", "many");
  write("");
  try {
    load();
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.where(), "MOEBOX_THREADS");
    EXPECT_EQ(error.message(), "expected an integer from 0 to 1024, found 'many'");
  }
}

TEST_F(SettingsTest, ValuesOfAWrongFormAreNamed) {
  const auto says = [&](const std::string& text, const std::string& place, const std::string& message) {
    const Error error = refused(text);
    EXPECT_EQ(error.where(), file_ + place) << text;
    EXPECT_EQ(error.message(), message) << text;
  };
  says("temperature = [1, 2]", ":1: temperature", "expected a number from 0 to 100, found an array");
  says("temperature = [\"0.5\"]", ":1: temperature", "expected a number from 0 to 100, found an array");
  says("temperature = 2020-01-01", ":1: temperature", "expected a number from 0 to 100, found a date or time");
  says("model = {}", ":1: model", "expected a text, found a table");
  says("catalogue = [1, 2]", ":1: catalogue", "expected an array of texts, found an array");
  says("server = 5", ":1: server", "expected a table, [server], found a plain value");
  says("[[server]]\nport = 1", ":1: server", "expected a table, [server], found an array");
  says("[sever]", ":1", "there is no setting 'sever'");
  says("[server.tls]\nkey = \"k\"", ":1", "there is no setting 'server.tls'");
  write("[server]\n");
  EXPECT_NO_THROW(load());
}

TEST_F(SettingsTest, KeysOfManyPartsAreRefusedBeforeTheyAreTables) {
  std::string key = "a";
  for (int i = 0; i < 400'000; ++i) key += ".a";
  for (const std::string& text :
       {"\n" + key + " = 1", "\n[" + key + "]", "\n[[" + key + "]]", "\nx = {" + key + " = 1}",
        "x = \"\\\"\"\n" + key + " = 1", "x = \"\"\"\n\"\"\"\"; " + key + " = 1", "# \"\n" + key + " = 1",
        "x = '\\'\n" + key + " = 1"}) {
    const Error error = refused(text);
    EXPECT_EQ(error.where(), file_ + ":2");
    EXPECT_NE(error.message().find("many parts"), std::string::npos) << error.message();
  }
  const std::string dots(100, '.');
  write("system = \"" + dots + "\"\nmodel = '''\n" + dots + "\n'''''\nstore = '" + dots + "' # " + dots + "\n");
  const Settings settings = load();
  EXPECT_EQ(settings.text("system"), dots);
  EXPECT_EQ(settings.text("model"), dots + "\n''");
}

TEST_F(SettingsTest, TheUsualFileIsNotPassedOverWhenItCannotBeRead) {
  const Variable home("XDG_CONFIG_HOME", folder_.string());
  std::filesystem::create_directory(folder_ / "moebox");
  const std::filesystem::path usual = folder_ / "moebox" / "config.toml";
  const auto refused_as_io = [&](const char* what) {
    Settings settings;
    try {
      settings.load("");
      ADD_FAILURE() << "accepted: " << what;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io) << what;
      EXPECT_EQ(error.where(), usual.string()) << what;
    }
    std::filesystem::remove(usual);
  };
  std::filesystem::create_symlink(usual, usual);
  refused_as_io("a link to itself");
  std::filesystem::create_directory(usual);
  refused_as_io("a folder");
  ASSERT_EQ(::mkfifo(usual.c_str(), 0600), 0);
  refused_as_io("a pipe that nobody writes to");
}

TEST_F(SettingsTest, TimesSizesAndListsAreRead) {
  Settings settings;
  const auto set = [&](const char* key, const char* value) { settings.set(key, value, Origin::option, "test"); };
  using namespace std::chrono_literals;
  for (const auto& [text, expected] : std::initializer_list<std::pair<const char*, std::chrono::milliseconds>>{
           {"90", 90s}, {"90s", 90s}, {"5m", 5min}, {"2h", 2h}, {"250ms", 250ms}, {"never", -1ms}, {"0", 0ms}}) {
    set("server.keep_alive", text);
    EXPECT_EQ(settings.duration("server.keep_alive"), expected) << text;
  }
  EXPECT_THROW(set("server.drain_time", "never"), Error);
  for (const auto& [text, expected] : std::initializer_list<std::pair<const char*, std::uint64_t>>{
           {"4096", 4096}, {"4 MB", 4000000}, {"1.5GiB", 1610612736}, {"2k", 2000}, {"0", 0}}) {
    set("kv_memory", text);
    EXPECT_EQ(settings.size_bytes("kv_memory"), expected) << text;
  }
  set("server.cors_origins", " https://a.example , https://b.example,");
  EXPECT_EQ(settings.list("server.cors_origins"), (std::vector<std::string>{"https://a.example", "https://b.example"}));
  write("[server]\ncors_origins = [\"https://a.example\", \"*\"]\n");
  EXPECT_EQ(load().list("server.cors_origins"), (std::vector<std::string>{"https://a.example", "*"}));
}

TEST_F(SettingsTest, AMissingFileIsAnErrorOnlyWhenItWasNamed) {
  Settings settings;
  try {
    settings.load(file_);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::not_found);
  }
  const Variable home("XDG_CONFIG_HOME", folder_.string());
  EXPECT_NO_THROW(settings.load(""));
  EXPECT_EQ(settings.file(), (folder_ / "moebox" / "config.toml").string());
  EXPECT_FALSE(settings.file_was_read());
}

TEST_F(SettingsTest, VariablesThatMeanNothingAreKnown) {
  const Variable typo("MOEBOX_TEMPRATURE", "1");
  Settings settings;
  const Variable home("XDG_CONFIG_HOME", folder_.string());
  settings.load("");
  EXPECT_EQ(settings.unknown_variables(), std::vector<std::string>{"MOEBOX_TEMPRATURE"});
}

}  // namespace
}  // namespace moebox::cli
