"""64 streaming clients at once, slow readers, half-open connections and clients that abort among them, for --seconds.

Asserts: no error that the client did not cause; no starvation (no client that reads waits longer than --max-gap for its next event, and every
one of them gets whole answers, at least a quarter of what the median gets); resident memory that does not grow; and that in the end every slot
is free.

    soak.py --binary build/dev/moebox --models DIR [--seconds 120] [--clients 64] [--growth-mb 16] [--max-gap 60]
"""

import argparse
import asyncio
import json
import pathlib
import random
import sys
import time
from urllib.parse import urlsplit

from serving import Serving

TOKENS = 24
CACHE_MB = 64  # a third of what all clients together want: answers wait for room and are preempted


class Soak:
    def __init__(self, url, seconds, seed):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.end = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.errors = []
        self.done = {}
        self.answers = []  # whole answers of each steady client
        self.longest_gap = 0.0

    def request(self, **options):
        words = " ".join(self.random.choice("red green blue old new small large fast slow".split()) for _ in range(self.random.randint(3, 60)))
        body = json.dumps({
            "model": "chat", "messages": [{"role": "user", "content": words}], "stream": True, "max_tokens": TOKENS,
            "stream_options": {"include_usage": True}, "ignore_eos": True, **options,
        }).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def read_stream(self, reader, pause=0.0):
        """Reads one whole answer. Returns its events; every wait counts for the longest gap unless the client itself pauses."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            raise RuntimeError((head + await reader.readexactly(length)).decode(errors="replace"))
        text, last = b"", time.monotonic()
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            chunk = (await reader.readexactly(size + 2))[:size]
            text += chunk
            now = time.monotonic()
            if pause:
                await asyncio.sleep(pause)
            elif b"data: " in chunk:  # a ping is no progress
                self.longest_gap = max(self.longest_gap, now - last)
                last = now
            if size == 0:
                return [event[6:] for event in text.decode().split("\n\n") if event.startswith("data: ")]

    def check(self, events):
        if events[-1] != "[DONE]":
            raise RuntimeError("the stream did not end: " + repr(events[-1:]))
        usage = json.loads(events[-2])["usage"]
        if usage["completion_tokens"] != TOKENS:
            raise RuntimeError(f"expected {TOKENS} tokens, found {usage}")

    async def steady(self):
        """Reads everything, many requests on one connection."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        answers = 0
        try:
            while time.monotonic() < self.end:
                writer.write(self.request())
                self.check(await self.read_stream(reader))
                self.count("steady")
                answers += 1
        finally:
            self.answers.append(answers)
            writer.close()

    async def slow(self):
        """Reads with pauses: slow, but not too slow."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=4096)
        try:
            while time.monotonic() < self.end:
                writer.write(self.request())
                self.check(await self.read_stream(reader, pause=0.05))
                self.count("slow")
        finally:
            writer.close()

    async def aborting(self):
        """Leaves in the middle: with a goodbye, with a reset, before the first byte, or with half a request."""
        while time.monotonic() < self.end:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            how = self.random.choice(["early", "middle", "reset", "half", "half_close"])
            request = self.request(max_tokens=500)
            if how == "half":
                writer.write(request[: len(request) // 2])
                await writer.drain()
            else:
                writer.write(request)
                if how != "early":
                    await reader.read(200)
            if how == "half_close":
                writer.write_eof()
                await reader.read()
            if how == "reset":
                writer.transport.abort()
            writer.close()
            self.count("aborting")
            await asyncio.sleep(self.random.uniform(0.05, 0.5))

    async def half_open(self):
        """Asks and then neither reads nor leaves: the server must live with it, and others must not wait for it."""
        while time.monotonic() < self.end:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.transport.pause_reading()
            if self.random.random() < 0.5:
                writer.write(self.request(max_tokens=200))
            await asyncio.sleep(self.random.uniform(2, 5))
            writer.transport.abort()
            self.count("half_open")

    def count(self, kind):
        self.done[kind] = self.done.get(kind, 0) + 1

    async def guard(self, kind):
        try:
            await getattr(self, kind)()
        except (ConnectionError, asyncio.IncompleteReadError, RuntimeError, OSError) as error:
            if kind in ("steady", "slow"):
                self.errors.append(f"{kind}: {error!r}")

    async def run(self, clients, resident_bytes=None):
        """Returns the resident memory, once a second from the first third on: by then every buffer has been used."""
        kinds = (["steady"] * 10 + ["slow"] * 2 + ["aborting"] * 2 + ["half_open"] * 2) * (clients // 16 + 1)
        begin, memory = time.monotonic(), []

        async def watch():
            while time.monotonic() < self.end:
                if resident_bytes and time.monotonic() - begin >= (self.end - begin) / 3:
                    memory.append(resident_bytes())
                await asyncio.sleep(1)

        await asyncio.gather(watch(), *(self.guard(kind) for kind in kinds[:clients]))
        return memory


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--models", required=True, type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--growth-mb", type=float, default=16)
    parser.add_argument("--max-gap", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    problems = []
    model = f"chat={options.models.resolve() / 'smollm2-135m-instruct-q4_1.gguf'}"
    # A small cache is full soon: what grows after that is a leak.
    serve_options = ["--context", "1024", "--kv-memory", f"{CACHE_MB}MiB", "--log-level", "warning"]
    with Serving(options.binary, [model], serve_options) as server:
        warm_up = Soak(server.url, min(5, options.seconds / 4), options.seed)
        asyncio.run(warm_up.run(options.clients))
        soak = Soak(server.url, options.seconds, options.seed + 1)
        memory = asyncio.run(soak.run(options.clients, server.resident_bytes))
        # The question itself comes by a connection; the one before may still be closing.
        allowed = {"vllm:num_requests_running": 0, "vllm:num_requests_waiting": 0, "moebox:requests_in_flight": 0, "vllm:kv_cache_usage_perc": 0,
                   "moebox:connections": 1}
        deadline = time.monotonic() + 30
        while True:
            left = {name: value for name, value in server.metrics(allowed).items() if value > allowed[name]}
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        problems += [f"{name} is {value} after everybody left" for name, value in left.items()]
        # The mean of the first and of the last third of what was seen: single peaks say nothing.
        third = max(1, len(memory) // 3)
        growth_mb = (sum(memory[-third:]) - sum(memory[:third])) / third / 2**20
        tokens = server.metric("vllm:generation_tokens_total")
        failed = sum(float(line.rsplit(" ", 1)[1]) for line in server.get("/metrics")[1].splitlines()
                     if line.startswith("vllm:request_success_total") and 'finished_reason="error"' in line)
        code = server.stop()
    problems += warm_up.errors + soak.errors
    median = sorted(soak.answers)[len(soak.answers) // 2]
    if min(soak.answers) < max(1, median // 4):
        problems.append(f"a client starved: whole answers of each were {sorted(soak.answers)}")
    if growth_mb > options.growth_mb:
        problems.append(f"resident memory grew by {growth_mb:.1f} MiB")
    if soak.longest_gap > options.max_gap:
        problems.append(f"a client waited {soak.longest_gap:.1f} s for its next event")
    if failed:
        problems.append(f"{failed} sequences failed")
    if code != 0:
        problems.append(f"the server ended with {code}:\n" + "".join(server.log[-40:]))
    for kind in ("steady", "slow", "aborting", "half_open"):
        if not soak.done.get(kind):
            problems.append(f"no {kind} client got anything done")
    print(
        f"{options.clients} clients, {options.seconds:.0f} s: {soak.done}, {len(problems)} problems, {tokens:.0f} tokens, "
        f"answers of a steady client {min(soak.answers)} to {max(soak.answers)} (median {median}), longest gap {soak.longest_gap:.2f} s, "
        f"memory {memory[0] / 2**20:.0f} to {memory[-1] / 2**20:.0f} MiB ({growth_mb:+.1f} MiB between thirds)"
    )
    for problem in problems[:20]:
        print("problem:", problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
