"""moebox report, as a user meets it."""
import html.parser
import os
import shutil
import unittest

from program import TESTS, ProgramTest, read_bytes, read_text

LOG = os.path.join(TESTS, "golden/report/train.log.jsonl")


class Elements(html.parser.HTMLParser):
    """Every element is closed by its own end tag, but for those that have none."""

    def __init__(self, test):
        super().__init__()
        self.test, self.open, self.seen, self.words = test, [], set(), []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.test.assertFalse([name for name, _ in attributes if name.startswith("on") or name in ("src", "href")], tag)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.test.assertEqual(self.open.pop(), tag)

    def handle_data(self, data):
        self.words.append(data)


class ReportTest(ProgramTest):
    def setUp(self):
        super().setUp()
        os.makedirs(self.path("run/model"))
        shutil.copy(LOG, self.path("run/train.log.jsonl"))

    def elements(self, page):
        elements = Elements(self)
        elements.feed(page)
        elements.close()
        self.assertEqual(elements.open, [])
        return elements

    def test_a_page_that_needs_nothing(self):
        _, err = self.run_program("report", "run/")
        self.assertEqual(err, "run/report.html\n")
        page = read_text(self.path("run/report.html"))
        elements = self.elements(page)
        self.assertIn("svg", elements.seen)
        self.assertNotIn("script", elements.seen)
        self.assertRegex(" ".join(elements.words), r"(?s)8 of 8.*cross-entropy.*learning rate.*Layer 2.*hidden_size.*pipeline_tag")
        out, err = self.run_program("report", "run", "-o", "-")
        self.assertEqual((out, err), (page, ""))
        self.run_program("report", "run", "-o", "other.html")
        self.assertEqual(read_text(self.path("other.html")), page)

    def test_what_is_no_run_is_an_error(self):
        os.mkdir(self.path("empty"))
        self.assertIn("train.log.jsonl", self.run_program("report", "empty", code=3)[1])
        self.assertIn("nowhere", self.run_program("report", "nowhere", code=3)[1])
        self.run_program("report", code=2)
        lines = read_text(LOG).splitlines()
        lines[3] = lines[3][:-9]
        self.write("run/train.log.jsonl", "\n".join(lines) + "\n")
        self.assertIn("run/train.log.jsonl:4: expected a JSON object", self.run_program("report", "run", code=4)[1])
        self.assertFalse(os.path.exists(self.path("run/report.html")))

    def test_a_run_that_goes_on(self):
        content = read_bytes(LOG)
        self.write("run/train.log.jsonl", content[:-9])
        self.assertIn("last line is not whole", self.run_program("report", "run", "-o", "-")[0])
        self.write("run/train.log.jsonl", content[:content.index(b"\n") + 1])
        page, _ = self.run_program("report", "run", "-o", "-")
        self.assertIn("has not done a step yet", page)
        self.elements(page)

    def test_the_card_is_the_persons_once_it_is_changed(self):
        _, err = self.run_program("report", "run", "--card", "--license", "apache-2.0")
        self.assertIn("run/model/README.md\n", err)
        card = read_text(self.path("run/model/README.md"))
        self.assertTrue(card.startswith("---\nlicense: apache-2.0\npipeline_tag: text-generation\ntags:\n- moebox\n"), card)
        self.run_program("report", "run", "--card")
        self.write("run/model/README.md", card + "What it is for: tests.\n")
        _, err = self.run_program("report", "run", "--card", code=2)
        self.assertIn("--force replaces it", err)
        self.run_program("report", "run", "--card", "--force")
        self.assertNotIn("What it is for", read_text(self.path("run/model/README.md")))
        self.run_program("report", "run", "--card", "--license", "no\nlicense", code=2)
        self.run_program("report", "run", "--force", code=2)
        os.rename(self.path("run/model"), self.path("moved"))
        self.assertIn("no model yet", self.run_program("report", "run", "--card", code=3)[1])

    def test_events_for_tensorboard(self):
        os.utime(self.path("run/train.log.jsonl"), (1_700_000_000, 1_700_000_000))
        self.run_program("report", "run", "--tensorboard", "events")
        name = "events.out.tfevents.0000000000.moebox"
        self.assertEqual(os.listdir(self.path("events")), [name])
        self.assertEqual(read_bytes(self.path("events/" + name)), read_bytes(os.path.join(TESTS, "golden/report/events", name)))
        self.write("events/events.out.tfevents.1700000000.host", "x")
        self.assertIn("other events are there", self.run_program("report", "run", "--tensorboard", "events", code=2)[1])


if __name__ == "__main__":
    unittest.main()
