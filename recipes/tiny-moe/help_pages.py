#!/usr/bin/env python3
"""Sections of the help of a Debian desktop, in English and Chinese, from Debian's packages.

    python3 help_pages.py OUT.jsonl [--packages FOLDER]

A line of OUT is one section in one language: {"source", "page", "section", "language", "about", "page_title", "title", "text", "where"}. `page` and `section` are the same for a
section and its translation: translations keep the structure of their pages. `where` tells how a command is reached, for sections that are about one. Where a Chinese page
has English left in it that paragraph is left out, and a section that loses more than a third of its text, too.
"""
import argparse
import dataclasses
import html.parser
import json
import pathlib
import re
import subprocess
import tempfile


@dataclasses.dataclass(frozen=True)
class Source:
    packages: tuple      # their files are unpacked into one folder
    pages: dict          # language -> pattern of its pages; the star's text is what a page and its translation share
    about: str           # what the help is of; LibreOffice's and the handbook's is by folder
    left_out: str = "$^"


SOURCES = {
    "libreoffice-help": Source(("libreoffice-help-en-us", "libreoffice-help-zh-cn"),
                               {"en": "usr/share/libreoffice/help/en-US/text/**/*.html", "zh": "usr/share/libreoffice/help/zh-CN/text/**/*.html"},
                               "LibreOffice", r"/0[0-9]/000000|/menu/|/autokorr/|/main0|new_help"),     # fragments, menus of links, contents
    "gnome-user-docs": Source(("gnome-user-docs",), {"en": "usr/share/help/C/gnome-help/*.page", "zh": "usr/share/help/zh_CN/gnome-help/*.page"}, "GNOME"),
    "gimp-help": Source(("gimp-help-en", "gimp-help-zh-cn"), {"en": "usr/share/gimp/2.0/help/en/*.html", "zh": "usr/share/gimp/2.0/help/zh_CN/*.html"}, "GIMP",
                        r"bibliography|glossary|index|fdl|legal|credits"),
    "debian-reference": Source(("debian-reference-en", "debian-reference-zh-cn"),
                               {"en": "usr/share/debian-reference/*.en.html", "zh": "usr/share/debian-reference/*.zh-cn.html"}, "Debian", r"index\.|apa\."),
    "debian-handbook": Source(("debian-handbook",), {"en": "usr/share/doc/debian-handbook/html/en-US/*.html", "zh": "usr/share/doc/debian-handbook/html/zh-CN/*.html"},
                              "Debian", r"index|ix01"),
    "installation-guide": Source(("installation-guide-amd64",), {"en": "usr/share/doc/installation-guide-amd64/en/*.html",
                                                                 "zh": "usr/share/doc/installation-guide-amd64/zh_CN/*.html"}, "Debian", r"index|apf"),
}
LIBREOFFICE_PARTS = {"sbasic": "LibreOffice Basic", "scalc": "LibreOffice Calc", "sdatabase": "LibreOffice Base", "sdraw": "LibreOffice Draw",
                     "simpress": "LibreOffice Impress", "smath": "LibreOffice Math", "swriter": "LibreOffice Writer"}

LEFT_OUT_CLASSES = {"relatedtopics", "related", "relatedbody", "icontable", "noteicon", "image", "howtogetheader", "navheader", "navfooter", "toc", "figure", "footnotes",
                    "docnav", "breadcrumbs", "rightside", "leftside", "debug", "MAC", "WIN", "switch"}
LEFT_OUT_TAGS = {"head", "info", "header", "footer", "noscript", "script", "style", "links", "media", "comment"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
TEXT_TAGS = {"p", "pre", "screen", "code-block"}
NOTES = {"note", "tip", "warning", "caution", "important"}
VOID = {"meta", "img", "br", "input", "hr", "col", "source", "include", "base"}     # and link, but in Mallard
LEAST_CHARACTERS = {"en": 60, "zh": 20}
MOST_CHARACTERS = {"en": 1500, "zh": 520}     # about 400 tokens of either


class Page(html.parser.HTMLParser):
    """`blocks`: (kind, text) in order of a page of HTML (LibreOffice's, DocBook's) or Mallard; kind is heading, subheading, text, item, code or where."""

    def __init__(self, source, mallard):
        super().__init__()
        self.mallard, self.of_libreoffice = mallard, "DisplayArea" in source
        self.blocks, self.title = [], ""
        self.open = []           # (tag, classes, left out) of the elements that are open
        self.text = None         # pieces of the block that is open
        if self.of_libreoffice:
            found = re.search(r"Title is: ([^<]+)", source)     # it is translated where the heading is not
            self.title = tidy(html.unescape(found.group(1))) if found else ""
            source = source[source.index('<div id="DisplayArea"'):source.index('<div id="SearchFrame"')]
        self.feed(source)

    def is_heading(self, tag):
        return tag == "title" if self.mallard else tag in HEADINGS

    def handle_starttag(self, tag, attributes):
        if tag in VOID or (tag == "link" and not self.mallard):
            if self.text is not None and tag == "br":
                self.text.append("\n")
            return
        attributes = dict(attributes)
        classes = set((attributes.get("class") or "").split())
        is_default = (attributes.get("id") or "").startswith("default")     # of a choice between systems: hidden until the reader's is known
        left_out = (tag in LEFT_OUT_TAGS or not classes.isdisjoint(LEFT_OUT_CLASSES) or ("hidden" in attributes and not is_default)
                    or any("intable" in name for name in classes) or (tag == "table" and not self.within_note()))
        self.open.append((tag, classes, left_out))
        if self.is_heading(tag) or tag in TEXT_TAGS or "para" in classes:
            self.flush()
            self.text = []

    def handle_endtag(self, tag):
        if tag in VOID or not any(name == tag for name, _, _ in self.open):
            return
        if self.is_heading(tag) or tag in TEXT_TAGS or (self.open and "para" in self.open[-1][1]):
            self.flush()
        while self.open.pop()[0] != tag:
            pass

    def flush(self):
        if self.text is None:
            return
        joined, self.text = "".join(self.text), None
        tags = {tag for tag, _, _ in self.open}
        classes = {name for _, names, _ in self.open for name in names}
        is_code = not tags.isdisjoint({"pre", "screen"}) or any(name.endswith("code") for name in classes if name not in ("literal",))
        text = joined.strip("\n") if is_code else tidy(joined)
        if not text or any(left_out for _, _, left_out in self.open):
            return
        heading = next((tag for tag, _, _ in reversed(self.open) if self.is_heading(tag)), None)
        if heading:
            unnumbered = re.sub(r"^(\d+|[A-F])(\.\d+)*\. ", "", text)
            self.blocks.append(("subheading" if self.of_libreoffice and heading in ("h4", "h5", "h6") else "heading", unnumbered))
        else:
            self.blocks.append(("where" if "howtoget" in classes else "code" if is_code else "item" if tags & {"ol", "steps"} else "text", text))

    def within_note(self):
        return any(not classes.isdisjoint(NOTES) for _, classes, _ in self.open)

    def handle_data(self, data):
        if self.text is not None and not any(left_out for _, _, left_out in self.open):
            self.text.append(data)


def tidy(text):
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([,.;:!?)])", r"\1", text)
    return re.sub(r"(?<=[\u3000-\u9fff，。；：！？]) (?=[\u3000-\u9fff，。；：！？])", "", text)


def is_translated(text, language):
    """Chinese text has more Chinese characters than foreign words; what has none passes when it is short, such as a name or a formula."""
    chinese = len(re.findall(r"[\u4e00-\u9fff]", text))
    if language == "en":
        return chinese == 0
    return chinese >= 2 * len(re.findall(r"[A-Za-z]{2,}", text)) if chinese else len(text) < 12


def sections_of(page, language):
    """(index, page's title, title, text, where) of each section; the index counts headings, so it is the same in both languages."""
    page_title = page.title or next((text for kind, text in page.blocks if kind == "heading"), "")
    index, title, where, lines, kept, lost, number = 0, page.title, [], [], 0, 0, 0
    results = []

    def close():
        text = cut("\n".join(lines), MOST_CHARACTERS[language])
        if len(text) >= LEAST_CHARACTERS[language] and lost * 2 <= kept and title and is_translated(title, language):
            results.append((index, page_title, title, text, "\n".join(dict.fromkeys(where))))

    for kind, text in page.blocks:
        if kind == "heading":
            close()
            title = page.title if page.title and index == 0 else text.rstrip(":： ")
            index, where, lines, kept, lost, number = index + 1, [], [], 0, 0, 0
        elif kind != "code" and not is_translated(text, language):
            lost += len(text) / (3 if language == "zh" else 1)
        elif kind == "where":
            where.append(text)
        else:
            kept += len(text)
            number = number + 1 if kind == "item" else number
            lines.append(f"{number}. {text}" if kind == "item" else text)
    close()
    return results


def cut(text, most):
    """At a line's end, or else at a sentence's."""
    if len(text) <= most:
        return text
    return text[:most].rsplit("\n", 1)[0] if "\n" in text[:most] else re.split(r"(?<=[。])|(?<=\. )", text[:most])[0]


def unpacked(package, folder):
    """The folder into which the package's files are unpacked; downloads what is not there."""
    target = folder / "files" / package
    if not target.exists():
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
        subprocess.run(["dpkg-deb", "-x", next(folder.glob(f"{package}_*.deb")), target], check=True)
    return target


def pages_of(source, folder):
    """(name, {language: path}) of the pages, in order of their names."""
    found = {}
    for package in source.packages:
        root = unpacked(package, folder)
        for language, pattern in source.pages.items():
            before, after = pattern.split("*", 1)[0], pattern.rsplit("*", 1)[1]
            for path in root.glob(pattern):
                name = path.relative_to(root).as_posix().removeprefix(before).removesuffix(after)
                if not re.search(source.left_out, path.relative_to(root).as_posix()):
                    found.setdefault(name, {})[language] = path
    return sorted((name, languages) for name, languages in found.items() if "en" in languages)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--packages", type=pathlib.Path, help="where the packages are, or are downloaded to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, open(options.out, "w", encoding="utf-8") as out:
        folder = (options.packages or pathlib.Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        seen = set()
        for source_name, source in SOURCES.items():
            written = {"en": 0, "zh": 0}
            for name, languages in pages_of(source, folder):
                about = LIBREOFFICE_PARTS.get(name.split("/")[0], source.about)
                for language, path in sorted(languages.items()):
                    for index, page_title, title, text, where in sections_of(Page(path.read_text(encoding="utf-8"), path.suffix == ".page"), language):
                        if text in seen:     # pages embed parts of each other
                            continue
                        seen.add(text)
                        out.write(json.dumps({"source": source_name, "page": name, "section": index, "language": language, "about": about, "page_title": page_title,
                                              "title": title, "text": text, "where": where}, ensure_ascii=False) + "\n")
                        written[language] += 1
            print(f"{source_name}: {written['en']} sections in English, {written['zh']} in Chinese")


if __name__ == "__main__":
    main()
