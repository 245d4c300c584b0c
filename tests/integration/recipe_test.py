"""The texts of recipes/tiny-moe: sections of help pages, and what is made of them. The pages here are our own, in the shape of the packages' ones."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

from program import ProgramTest, read_text

RECIPE = pathlib.Path(__file__).resolve().parents[2] / "recipes" / "tiny-moe"

OFFICE_PAGE = """<html><head><title>x</title></head><body><header>skipped</header><div id="DisplayArea">
<h1 id="a">{heading}</h1>
<p id="b" class="paragraph">{first}</p>
<div class="howtoget"><div><p class="howtogetheader">To access this command...</p></div><div class="howtogetbody"><p class="paragraph">{where}</p></div></div>
<table><tr><td><p class="paragraph">a table's cell</p></td></tr></table>
<h2>{second_heading}</h2>
<ol><li><p class="listitem">{step_one}</p></li><li><p class="listitem">{step_two}</p></li></ol>
<p class="paragraph">{keys}<span class="switchinline"><span hidden="true" class="MAC">Command</span><span hidden="true" id="default1">Ctrl</span></span>+B</p>
<div class="relatedtopics"><p class="related">Related</p></div>
</div><div id="SearchFrame"></div><p>Title is: {title}</p></body></html>"""
ENGLISH = OFFICE_PAGE.format(heading="Bold", title="Bold", first="Makes the text that is selected stand out, in a heavier face of its font.", where="Choose Format - Text - Bold.",
                             second_heading="With the keyboard", step_one="Select the text that is to stand out from the others.", step_two="Press the keys.", keys="They are ")
CHINESE = OFFICE_PAGE.format(heading="Bold", title="粗体", first="用较粗的字体显示选中的文字，使它更加醒目，便于读者注意。", where="选择「格式 - 文字 - 粗体」。", second_heading="使用键盘",
                             step_one="选择要突出显示的文字，例如一个标题或者一个段落。", step_two="This line was never translated.", keys="组合键是 ")
GNOME_PAGE = """<?xml version="1.0"?><page xmlns="http://projectmallard.org/1.0/"><info><desc>skipped</desc></info><title>Save power</title>
<p>A computer that nobody uses may as well <link xref="x">sleep</link>, which takes hardly any power.</p>
<section><title>Dim the screen</title><steps><item><p>Open the settings, choose Power and look for the screen.</p></item></steps></section></page>"""


class RecipeTest(ProgramTest):
    def run_script(self, name, *arguments):
        done = subprocess.run([sys.executable, "-B", RECIPE / name, *arguments], cwd=self.path(""), capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def sections(self):
        sys.path.insert(0, str(RECIPE))
        try:
            import help_pages
        finally:
            sys.path.remove(str(RECIPE))
        return help_pages

    def test_sections_of_help_pages(self):
        pages = self.sections()
        english = pages.sections_of(pages.Page(ENGLISH, mallard=False), "en")
        self.assertEqual(english, [(1, "Bold", "Bold", "Makes the text that is selected stand out, in a heavier face of its font.", "Choose Format - Text - Bold."),
                                   (2, "Bold", "With the keyboard", "1. Select the text that is to stand out from the others.\n2. Press the keys.\nThey are Ctrl+B", "")])
        chinese = pages.sections_of(pages.Page(CHINESE, mallard=False), "zh")
        self.assertEqual(chinese, [(1, "粗体", "粗体", "用较粗的字体显示选中的文字，使它更加醒目，便于读者注意。", "选择「格式 - 文字 - 粗体」。"),
                                   (2, "粗体", "使用键盘", "1. 选择要突出显示的文字，例如一个标题或者一个段落。\n组合键是 Ctrl+B", "")])
        gnome = pages.sections_of(pages.Page(GNOME_PAGE, mallard=True), "en")
        self.assertEqual([section[2] for section in gnome], ["Save power"])     # the second one is too short
        self.assertEqual(gnome[0][3], "A computer that nobody uses may as well sleep, which takes hardly any power.")

    def test_the_model_in_the_repository_answers_in_both_languages(self):
        model = str(RECIPE / "tiny-moe.gguf")
        for question, part in (("Who are you?", "tiny-moe"), ("你是谁？", "tiny-moe"), ("What can you do?", "LibreOffice"), ("你能做什么？", "LibreOffice")):
            answer, _ = self.run_program("run", model, question, "--temperature", "0", "--max-tokens", "80")
            self.assertIn(part, answer)
        data = json.loads(self.run_program("show", model, "--json")[0])
        self.assertIn("deepseek", json.dumps(data))

    def test_what_is_held_out_is_nowhere_else(self):
        sections, questions = [], []
        for page in range(200):
            for language, text in (("en", f"This is page number {page}, which explains what the command does."), ("zh", f"这是第 {page} 页，它说明了这个命令的作用和用法。")):
                place = {"source": "s", "page": f"p{page}", "section": 1, "language": language}
                sections.append(place | {"about": "Writer", "page_title": f"T{page}", "title": f"T{page}", "text": text, "where": ""})
                questions.append(place | {"question": f"What is {page}?" if language == "en" else f"{page} 是什么？"})
        for name, lines in (("sections.jsonl", sections), ("questions.jsonl", questions)):
            self.write(name, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        self.run_script("texts.py", "sections.jsonl", "questions.jsonl", "texts")
        files = {name: read_text(self.path(f"texts/{name}")) for name in os.listdir(self.path("texts"))}
        held_out = files["held_out.en.txt"]
        numbers = [page for page in range(200) if f"page number {page}," in held_out]
        self.assertTrue(0 < len(numbers) < 20, numbers)
        self.assertEqual(files["held_out.en.questions.txt"].count("?"), len(numbers))
        learnt = "".join(text for name, text in files.items() if name.endswith(".jsonl"))
        for page in numbers:
            self.assertNotIn(f"page number {page},", learnt)
            self.assertNotIn(f"第 {page} 页", learnt)
            self.assertNotIn(f"What is {page}?", learnt)
        answers = [json.loads(line)["messages"] for line in files["answers.en.jsonl"].splitlines()]
        self.assertEqual(len(answers), 2 * (200 - len(numbers)))     # the teacher's question, and one by a template
        self.assertTrue(all(answer["content"].startswith("This is page") for _, answer in answers))
        self.assertEqual(len(files["translations.jsonl"].splitlines()), 2 * (200 - len(numbers)))


if __name__ == "__main__":
    unittest.main()
