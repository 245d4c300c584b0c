#!/usr/bin/env python3
"""For sections of a help, a question that each answers, written by a teacher model that moebox serves.

    python3 ask_teacher.py SECTIONS.jsonl QUESTIONS.jsonl --moebox build/release/moebox [--model qwen2.5-coder-0.5b-instruct] [--first 8500] [--at-once 32]

Sections are taken in the order of their names' digests, which is as good as chance. A line of QUESTIONS is {"source", "page", "section", "language", "question"}. Lines that are there already are kept, and the program goes on behind them. A request's
seed is made of the section's name, so the questions do not depend on how many are asked at once.
"""
import argparse
import concurrent.futures
import hashlib
import http.client
import json
import pathlib
import re
import subprocess
import threading

SYSTEM = {"en": "You read a piece of a program's help and write one short question of a user that it answers.", "zh": "你根据软件帮助中的一段文字，写出用户会问的一个简短问题。"}
EXAMPLES = {
    "en": [("LibreOffice Writer: Page Break\nInserts a manual page break, and moves the text to the right of the cursor to the beginning of the next page.",
            "How do I start a new page in Writer?"),
           ("GNOME: Change the screen resolution\nThe resolution of the screen determines how detailed things look.", "How can I change the resolution of my screen?"),
           ("LibreOffice Calc: COUNTIF\nReturns the number of cells that meet with certain criteria within a cell range.", "What does the function COUNTIF do in Calc?")],
    "zh": [("LibreOffice Writer: 分页符\n插入一个手动分页符，并将光标右侧的文字移到下一页的开头。", "在 Writer 里怎么另起一页？"),
           ("GNOME: 更改屏幕分辨率\n屏幕分辨率决定了显示内容的清晰程度。", "我想修改屏幕的分辨率，应该怎么做？"),
           ("LibreOffice Calc: COUNTIF\n返回区域中满足条件的单元格个数。", "Calc 的 COUNTIF 函数有什么用？")],
}
READ_CHARACTERS = {"en": 300, "zh": 120}
KEY = ("source", "page", "section", "language")


def messages(section):
    language = section["language"]
    name = f"{section['about']}: {section['title']}" + (f" ({section['page_title']})" if section["page_title"] != section["title"] else "")
    said = [{"role": "system", "content": SYSTEM[language]}]
    for text, question in EXAMPLES[language]:
        said += [{"role": "user", "content": text}, {"role": "assistant", "content": question}]
    return said + [{"role": "user", "content": f"{name}\n{section['text'][:READ_CHARACTERS[language]]}"}]


def key(record):
    return tuple(record[name] for name in KEY)


def is_question(text, language):
    """One line, that ends as a question, in the language that was asked for."""
    chinese = re.search(r"[\u4e00-\u9fff]", text) is not None
    return "\n" not in text and 6 <= len(text) <= 160 and text[-1] in "?？" and chinese == (language == "zh")


class Teacher:
    def __init__(self, program, model, at_once):
        self.process = subprocess.Popen([program, "serve", model, "--port", "0", "--load-at-start", "--max-sequences", str(at_once)], stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()     # the first thing that it says
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            self.close()
            raise SystemExit(f"{program} serve {model} did not start: {line}")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()     # its log, so that it never waits for a reader
        self.port, self.model = int(found.group(1)), model
        self.connections = threading.local()

    def close(self):
        self.process.terminate()
        self.process.wait()

    def ask(self, section):
        body = {"model": self.model, "messages": messages(section), "max_tokens": 60, "temperature": 0.7, "top_p": 0.9,
                "seed": int.from_bytes(hashlib.blake2b(repr(key(section)).encode(), digest_size=4).digest(), "little") >> 1}
        if not hasattr(self.connections, "http"):
            self.connections.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        self.connections.http.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = json.load(self.connections.http.getresponse())
        if "choices" not in answer:
            raise SystemExit(f"the teacher answered: {answer}")
        return answer["choices"][0]["message"]["content"].strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", type=pathlib.Path)
    parser.add_argument("questions", type=pathlib.Path)
    parser.add_argument("--moebox", default="build/release/moebox")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--first", type=int, help="so many sections; all of them otherwise")
    parser.add_argument("--at-once", type=int, default=32)
    options = parser.parse_args()

    done = {key(json.loads(line)) for line in options.questions.open(encoding="utf-8")} if options.questions.exists() else set()
    sections = [json.loads(line) for line in options.sections.open(encoding="utf-8")]
    sections.sort(key=lambda section: hashlib.blake2b(repr(key(section)).encode()).digest())
    left = [section for section in sections[:options.first] if key(section) not in done]
    print(f"{len(done)} questions are there, {len(left)} to ask", flush=True)
    if not left:
        return
    teacher = Teacher(options.moebox, options.model, options.at_once)
    try:
        with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool, options.questions.open("a", encoding="utf-8") as out:
            refused = 0
            for number, (section, question) in enumerate(zip(left, pool.map(teacher.ask, left)), 1):
                if not is_question(question, section["language"]):
                    question, refused = "", refused + 1     # the line stays, so that it is not asked again
                out.write(json.dumps({name: section[name] for name in KEY} | {"question": question}, ensure_ascii=False) + "\n")
                out.flush()
                if number % 500 == 0:
                    print(f"{number} of {len(left)}, {refused} answers that were no question", flush=True)
    finally:
        teacher.close()


if __name__ == "__main__":
    main()
