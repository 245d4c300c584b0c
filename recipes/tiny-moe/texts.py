#!/usr/bin/env python3
"""What the model learns from: pages, questions with answers, and translations, of the sections of help_pages.py and the questions of ask_teacher.py.

    python3 texts.py SECTIONS.jsonl QUESTIONS.jsonl OUT

writes into the folder OUT pages.en.jsonl and pages.zh.jsonl (plain text), answers.en.jsonl, answers.zh.jsonl and translations.jsonl (conversations), and held_out.en.txt,
held_out.zh.txt and the questions of them: one page in fifty, in both languages, of which nothing else holds a word. Everything is decided by the names of the sections: the same sections and questions
give the same files.
"""
import argparse
import collections
import hashlib
import json
import pathlib
import re

HELD_OUT = 50     # one page of so many
TEMPLATES = {
    "en": ["What does the help say about “{title}”?", "Explain “{title}” in {about}.", "{about}: {title}", "Tell me about {title} ({about})."],
    "zh": ["{about} 里的“{title}”是什么？", "请解释 {about} 的“{title}”。", "{about}：{title}", "说说“{title}”（{about}）。"],
}
WHERE = {"en": ["Where do I find “{title}” in {about}?", "How do I open “{title}” in {about}?"], "zh": ["{about} 里的“{title}”在哪里？", "在 {about} 中怎么打开“{title}”？"]}
TRANSLATE = {"en": ["Translate into Chinese: {text}", "How do you say this in Chinese? {text}"], "zh": ["翻译成英文：{text}", "这句话用英语怎么说？{text}"]}
NAMES_OF_PARTS = re.compile(r"^(example|syntax|parameters?|methods|properties|return value|options?|语法|示例|参数|方法|属性|返回值|选项)s?$", re.IGNORECASE)
LONGEST_TRANSLATED = 240     # characters of English


def number(*names):
    return int.from_bytes(hashlib.blake2b("\n".join(map(str, names)).encode(), digest_size=8).digest(), "little")


def one_of(choices, *names):
    return choices[number(*names) % len(choices)]


def is_held_out(section):
    return number("held out", section["source"], section["page"]) % HELD_OUT == 0


def conversation(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def page_text(sections):
    lines = [f"{sections[0]['about']}: {sections[0]['page_title']}"]
    for section in sections:
        if section["title"] != section["page_title"]:
            lines.append(f"\n{section['title']}")
        lines.append(section["text"])
    return "\n".join(lines)


def answers(section, question):
    """Conversations about a section: the teacher's question, one by a template where its title means something alone, and where its command is."""
    language, name = section["language"], (section["source"], section["page"], section["section"])
    if question:
        yield conversation(question, section["text"])
    if not NAMES_OF_PARTS.match(section["title"]):
        yield conversation(one_of(TEMPLATES[language], "template", *name).format(**section), section["text"])
        if section["where"]:
            yield conversation(one_of(WHERE[language], "where", *name).format(**section), section["where"])


def translations(english, chinese):
    """Line by line where both have as many, in both directions."""
    lines = list(zip(english["text"].split("\n"), chinese["text"].split("\n")))
    if english["text"].count("\n") != chinese["text"].count("\n"):
        return
    for first, second in lines:
        if 12 <= len(first) <= LONGEST_TRANSLATED and re.search(r"[\u4e00-\u9fff]", second) and 1.2 <= len(first) / len(second) <= 8:
            yield conversation(one_of(TRANSLATE["en"], first).format(text=first), second)
            yield conversation(one_of(TRANSLATE["zh"], second).format(text=second), first)


def write_lines(path, records):
    with open(path, "w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
    print(f"{path.name}: {len(records)}, {path.stat().st_size / 1e6:.1f} MB")


def read_lines(path):
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", type=pathlib.Path)
    parser.add_argument("questions", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    asked = {(line["source"], line["page"], line["section"], line["language"]): line["question"] for line in read_lines(options.questions)}
    pages, by_place = collections.defaultdict(list), {}
    for section in read_lines(options.sections):
        place = (section["source"], section["page"], section["section"])
        pages[section["language"], section["source"], section["page"]].append(section)
        by_place[place + (section["language"],)] = section

    for language in ("en", "zh"):
        mine = [sections for (its, _, _), sections in pages.items() if its == language]
        learnt = [sections for sections in mine if not is_held_out(sections[0])]
        write_lines(options.out / f"pages.{language}.jsonl", [{"text": page_text(sections)} for sections in learnt])
        write_lines(options.out / f"answers.{language}.jsonl",
                    [one for sections in learnt for section in sections
                     for one in answers(section, asked.get((section["source"], section["page"], section["section"], language)))])
        held_out = [page_text(sections) for sections in mine if is_held_out(sections[0])]
        (options.out / f"held_out.{language}.txt").write_text("\n\n".join(held_out) + "\n", encoding="utf-8")
        print(f"held_out.{language}.txt: {len(held_out)} pages")
        questions = [question for (source, page, _, its), question in asked.items() if its == language and question and is_held_out({"source": source, "page": page})]
        (options.out / f"held_out.{language}.questions.txt").write_text("\n".join(sorted(questions, key=number)) + "\n", encoding="utf-8")
    write_lines(options.out / "translations.jsonl",
                [one for place, section in by_place.items() if place[3] == "en" and place[:3] + ("zh",) in by_place and not is_held_out(section)
                 for one in translations(section, by_place[place[:3] + ("zh",)])])


if __name__ == "__main__":
    main()
