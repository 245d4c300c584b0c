"""What the benchmarks of the server share: a model that `moebox serve` serves, and its answers as they arrive."""
import json
import pathlib
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "server"))
from serving import Serving  # noqa: E402


def serve(moebox, model, threads, *options):
    """The server, ready; its model is called m."""
    return Serving(moebox, [f"m={model}"], ["--load-at-start", "--threads", str(threads), *options])


def write_json(path, report):
    """For the option --json; nothing where it was not given."""
    if path:
        pathlib.Path(path).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def stream(server, path, body):
    """(seconds since the request, chunk) of a greedy answer; the last chunk has the usage."""
    body = {"model": "m", "temperature": 0, "stream": True, "stream_options": {"include_usage": True}, **body}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    begin = time.perf_counter()
    with urllib.request.urlopen(request) as response:
        for line in response:
            if line.startswith(b"data: {"):
                yield time.perf_counter() - begin, json.loads(line[6:])
