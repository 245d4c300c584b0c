// The page of a data set: what it shows, and that nothing in a manifest becomes markup.
#include <gtest/gtest.h>

#include "data/build/counts.h"
#include "data/build/report.h"
#include "data/data_testing.h"

namespace moebox {
namespace {

std::size_t count_of(const std::string& text, std::string_view what) {
  std::size_t count = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(DataReport, ShowsWhatWasCounted) {
  const test::TemporaryFolder folder;
  data::Manifest manifest = test::write_dataset(folder.path(), {{"web", test::documents_of({3, 4})}});
  data::Counts counts;
  counts.read = {1'234'567, 4'000'000};
  counts.kept = {1'000'000, 3'000'000};
  counts.dropped["near_duplicate"] = {234'567, 1'000'000};
  counts.notes["email_masked"] = 17;
  counts.add_length(300);
  manifest.domains[0].report = counts.json();
  const std::string page = data::report_page(manifest, "shards");
  for (const char* part :
       {"1,234,567", "234,567", "1.0 MB", "nearly the same as one before", "与之前的文档几乎相同", "75.0 %",
        "256 – 511", "e-mail addresses masked", "train-web-0.safetensors", "<title>shards</title>"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("http://"), std::string::npos);
  EXPECT_EQ(page.find("https://"), std::string::npos);
  EXPECT_EQ(count_of(page, "<svg"), count_of(page, "</svg>"));
  EXPECT_EQ(count_of(page, "<table>"), count_of(page, "</table>"));
}

TEST(DataReport, NothingInAManifestBecomesMarkup) {
  const test::TemporaryFolder folder;
  data::Manifest manifest = test::write_dataset(folder.path(), {{"web", test::documents_of({3})}});
  const std::string evil = "<img src=x onerror=alert(1)>\"'&";
  manifest.settings = {{evil, evil}};
  manifest.domains[0].report = {{"read", evil},
                                {"kept", {{"documents", -5}, {"bytes", 1e300}}},
                                {"tokens", 18446744073709551615u},
                                {"dropped", {{evil, {{"documents", 3}, {"bytes", evil}}}}},
                                {"notes", {{evil, 2}}},
                                {"languages", {{evil, {{"documents", 1}}}}},
                                {"lengths", {evil, -1, 5, nullptr}}};
  const std::string page = data::report_page(manifest, evil);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_NE(page.find("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;"), std::string::npos);
  for (const nlohmann::ordered_json& report :
       {nlohmann::ordered_json(), nlohmann::ordered_json(5), nlohmann::ordered_json::array({1})}) {
    manifest.domains[0].report = report;
    EXPECT_NE(data::report_page(manifest, "x").find("</html>"), std::string::npos);
  }
}

}  // namespace
}  // namespace moebox
