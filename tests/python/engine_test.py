"""moebox.Engine: the command's own answers, streams, threads, Ctrl-C, errors."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time

import moebox
import pytest

QUESTION = "Why is the sky blue?"


@pytest.fixture(scope="module")
def engine(smollm):
    with moebox.Engine(smollm, threads=2, context=2048) as engine:
        yield engine


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"seed": 7},
        {"seed": 8, "temperature": 1.2, "top_k": 50, "min_p": 0.02, "repetition_penalty": 1.1},
    ],
)
def test_the_same_tokens_as_the_command(engine, program, smollm, options):
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    told = json.loads(program("run", smollm, "--json", "--context", 2048, "--max-tokens", 40, *words, QUESTION))
    answer = engine.generate(QUESTION, max_tokens=40, **options)
    assert answer.text == told["text"]
    assert answer.generated_tokens == told["generated_tokens"] == len(answer.token_ids)
    assert answer.finish_reason == told["finish_reason"]
    assert engine.tokenizer.decode(answer.token_ids) == answer.text


def test_text_as_it_is_and_ids(engine, program, smollm):
    text = "Once upon a time"
    told = json.loads(program("run", smollm, "--raw", "--json", "--context", 2048, "--max-tokens", 20, "--temperature", 0, text))
    answer = engine.generate(text, raw=True, max_tokens=20, temperature=0)
    assert answer.text == told["text"]
    ids = engine.tokenizer.encode(text, add_special=True)
    assert engine.generate(ids, max_tokens=20, temperature=0).token_ids == answer.token_ids


def test_messages_are_a_question_and_more(engine):
    options = {"max_tokens": 12, "temperature": 0}
    asked = engine.generate(QUESTION, system="Answer in one word.", **options)
    messages = [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": QUESTION}]
    assert engine.generate(messages, **options).token_ids == asked.token_ids
    assert engine.generate(engine.tokenizer.encode_chat(messages), **options).token_ids == asked.token_ids
    assert asked.prompt_tokens == len(engine.tokenizer.encode_chat(messages))


def test_a_stream_is_the_answer_in_pieces(engine):
    whole = engine.generate(QUESTION, max_tokens=30, seed=3)
    stream = engine.generate(QUESTION, max_tokens=30, seed=3, stream=True)
    with pytest.raises(moebox.Error, match="not ended"):
        _ = stream.answer
    pieces = list(stream)
    assert len(pieces) > 5 and "".join(pieces) == whole.text == stream.answer.text
    assert stream.answer.token_ids == whole.token_ids
    assert list(stream) == []


def test_an_answer_that_nobody_waits_for_ends(engine):
    stream = engine.generate(QUESTION, raw=True, ignore_end=True, temperature=0, stream=True)
    next(stream)
    stream.close()
    list(stream)
    assert stream.answer.finish_reason == "cancelled"
    stream = engine.generate(QUESTION, raw=True, ignore_end=True, stream=True)
    next(stream)
    del stream
    gc.collect()
    assert engine.generate(QUESTION, max_tokens=3).generated_tokens == 3


def test_stop_strings(engine):
    whole = engine.generate(QUESTION, max_tokens=40, temperature=0)
    stop = whole.text.split()[4]
    answer = engine.generate(QUESTION, max_tokens=40, temperature=0, stop=stop)
    assert answer.text == whole.text[: whole.text.index(stop)]
    assert (answer.finish_reason, answer.matched_stop) == ("stop", stop)


def test_threads_have_the_numbers_that_each_would_have_alone(engine):
    alone = {seed: engine.generate(QUESTION, max_tokens=25, seed=seed).token_ids for seed in range(4)}
    together = {}

    def ask(seed):
        together[seed] = engine.generate(QUESTION, max_tokens=25, seed=seed).token_ids

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_other_threads_run_meanwhile(engine):
    ticks = 0
    done = threading.Event()

    def tick():
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    engine.generate(QUESTION, raw=True, ignore_end=True, max_tokens=60)
    done.set()
    thread.join()
    assert ticks > 20


def test_a_chat_remembers(engine):
    chat = engine.chat(system="You are brief.", max_tokens=10, temperature=0)
    first = chat.send("My name is Eva.")
    chat.send("What is my name?")
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert chat.messages[2]["content"] == first.text


def test_ctrl_c_ends_an_answer_and_not_the_engine(smollm):
    program = f"""
import moebox, os, signal, threading
engine = moebox.Engine({str(smollm)!r}, context=4096)
threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    engine.generate("Count.", raw=True, ignore_end=True)
except KeyboardInterrupt:
    print("stopped", engine.generate("Hi", max_tokens=2).generated_tokens)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "stopped 2\n", done.stderr


def test_a_program_that_ends_within_an_answer_ends(smollm):
    program = f"""
import moebox
engine = moebox.Engine({str(smollm)!r}, context=1024)
stream = engine.generate("Count.", raw=True, ignore_end=True, stream=True)
print(len(next(stream)) > 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_is_told(engine):
    process = os.fork()
    if process == 0:
        try:
            engine.generate("Hi")
        except moebox.Error as error:
            os._exit(0 if "process" in error.message else 1)
        os._exit(2)
    assert os.waitpid(process, 0)[1] == 0


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"temperature": -1}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"raw": True, "prompt": [{"role": "user", "content": "x"}]}, "raw"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [{"content": "x"}]}, "messages[0]"),
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": [2**70]}, "prompt"),
        ({"temperature": float("nan")}, "temperature"),
        ({"max_tokens": 2**70}, "max_tokens"),
        ({"prompt": "a " * 5000}, "prompt"),
        ({"template_variables": {"x": {1, 2}}}, "template_variables"),
    ],
)
def test_errors_say_where(engine, options, where):
    with pytest.raises(moebox.Error) as caught:
        engine.generate(**{"prompt": "x", **options})
    assert caught.value.where == where and caught.value.message
    assert caught.value.kind == "invalid_argument"
    assert engine.generate("Hi", max_tokens=1).generated_tokens == 1


def test_models_that_are_none(tmp_path):
    with pytest.raises(moebox.Error) as caught:
        moebox.Engine(tmp_path / "none.gguf")
    assert caught.value.kind == "not_found"
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF\x03\0\0\0" + b"\xff" * 100)
    with pytest.raises(moebox.Error) as caught:
        moebox.Engine(damaged)
    assert caught.value.kind == "invalid_file" and str(damaged) in caught.value.where


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"threads": -1}, "threads"),
        ({"context": 10**9}, "context"),
        ({"kv_memory": "2 parsecs"}, "kv_memory"),
        ({"speculation": "draft"}, "speculation draft"),
        ({"speculation": "mtp"}, None),
    ],
)
def test_settings_that_cannot_be(smollm, options, where):
    with pytest.raises(moebox.Error) as caught:
        moebox.Engine(smollm, **options)
    assert where is None or caught.value.where == where
    assert "--" not in str(caught.value), caught.value


def test_a_closed_engine(smollm):
    engine = moebox.Engine(smollm, context=256)
    engine.close()
    with pytest.raises(moebox.Error, match="closed"):
        engine.generate("x")
    engine.close()


def test_lone_surrogates_are_text(engine):
    assert engine.generate("\ud800", max_tokens=1).generated_tokens == 1
    with pytest.raises(moebox.Error, match="Unicode"):
        engine.generate([{"role": "user", "content": "\ud800"}])


def test_a_signal_handler_of_the_program_runs_meanwhile(engine):
    came = []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(time.monotonic()))
    try:
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        engine.generate(QUESTION, raw=True, ignore_end=True, max_tokens=120)
        ended = time.monotonic()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came and came[0] < ended
