"""Runs the suite of one official client against two servers: an open one, and a strict one with a key and a rate limit.

    run_clients.py python --binary build/dev/moebox --models DIR --work build/dev/clients

The clients are installed below --work with pip or npm, in the versions that requirements.txt and package-lock.json pin.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import venv

from serving import Serving

HERE = pathlib.Path(__file__).resolve().parent
STRICT_KEY = "a-key-for-the-client-suite"


def install_python(work):
    target = work / "client_python"
    pinned = (HERE / "client_python" / "requirements.txt").read_text()
    stamp = target / "installed"
    if not stamp.exists() or stamp.read_text() != pinned:
        venv.create(target, with_pip=True, clear=True)
        subprocess.run([target / "bin" / "pip", "install", "-q", "-r", HERE / "client_python" / "requirements.txt"], check=True)
        stamp.write_text(pinned)
    return [str(target / "bin" / "python"), "-m", "unittest", "-v", "suite"], HERE / "client_python"


def install_javascript(work):
    target = work / "client_js"
    target.mkdir(parents=True, exist_ok=True)
    pinned = (HERE / "client_js" / "package-lock.json").read_text()
    stamp = target / "installed"
    for name in ("package.json", "package-lock.json", "suite.mjs"):
        shutil.copy(HERE / "client_js" / name, target / name)
    if not stamp.exists() or stamp.read_text() != pinned:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], cwd=target, check=True)
        stamp.write_text(pinned)
    return ["node", "--test", "suite.mjs"], target


def problems_of_logs(text_log, json_log):
    """Prompts must not be in a log; a log of JSON is one object a line, and every request has its id."""
    problems = [f"a prompt in the log: {line}" for line in text_log + json_log if "rainbow" in line.lower()]
    requests = 0
    for line in json_log:
        if line.startswith("listening on "):
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            problems.append(f"not JSON: {line}")
            continue
        if entry.get("event", entry.get("message")) == "request":
            requests += 1
            if not entry.get("request_id"):
                problems.append(f"no request id: {line}")
    return problems if requests else [*problems, "the log of JSON tells of no request"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=["python", "javascript"])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--models", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    options = parser.parse_args()

    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    command, folder = (install_python if options.client == "python" else install_javascript)(work)
    chat = f"chat={options.models.resolve() / 'smollm2-135m-instruct-q4_1.gguf'}"
    coder = f"coder={options.models.resolve() / 'qwen2.5-coder-0.5b-instruct-q4_k_m.gguf'}"
    strict_options = ["--requests-per-minute", "30", "--output-tokens", "64", "--log-format", "json"]
    with Serving(options.binary, [chat, coder], ["--context", "2048"]) as server, Serving(
        options.binary, [chat], ["--context", "512", *strict_options], {"MOEBOX_API_KEY": STRICT_KEY}
    ) as strict:
        variables = {
            **os.environ,
            "MOEBOX_URL": server.url,
            "MOEBOX_STRICT_URL": strict.url,
            "MOEBOX_STRICT_KEY": STRICT_KEY,
            "PYTHONPATH": str(HERE),
        }
        failed = subprocess.run(command, cwd=folder, env=variables, check=False).returncode != 0
        codes = [server.stop(), strict.stop()]
    problems = problems_of_logs(server.log, strict.log)
    if failed or any(codes):
        print("".join(server.log[-60:] + strict.log[-60:]), file=sys.stderr)
    if any(codes):
        print(f"a server ended with {codes}", file=sys.stderr)
    print("\n".join(problems[:20]), file=sys.stderr)
    return 1 if failed or any(codes) or problems else 0


if __name__ == "__main__":
    sys.exit(main())
