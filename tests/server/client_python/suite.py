"""The official OpenAI client for Python, unmodified, against moebox. run_clients.py starts the servers."""

import asyncio
import json
import math
import os
import re
import time
import unittest
import urllib.error
import urllib.request

import openai

URL = os.environ["MOEBOX_URL"]
STRICT_URL = os.environ["MOEBOX_STRICT_URL"]
STRICT_KEY = os.environ["MOEBOX_STRICT_KEY"]
QUESTION = [{"role": "user", "content": "Name three colours of the rainbow."}]

client = openai.OpenAI(base_url=URL + "/v1", api_key="none", timeout=300)


def strict_client(**options):
    return openai.OpenAI(**{"base_url": STRICT_URL + "/v1", "api_key": STRICT_KEY, "timeout": 300, **options})


def metric(name):
    with urllib.request.urlopen(URL + "/metrics", timeout=30) as response:
        text = response.read().decode()
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))


def eventually(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def idle():
    """Waits until no request is running, waiting, or still to be counted."""
    return eventually(lambda: metric("moebox:requests_in_flight") == 0)


def ask(**options):
    return client.chat.completions.create(**{"model": "chat", "messages": QUESTION, "temperature": 0, "max_tokens": 24, **options})


class Models(unittest.TestCase):
    def test_list_and_retrieve(self):
        self.assertEqual([model.id for model in client.models.list()], ["chat", "coder"])
        self.assertEqual(client.models.retrieve("chat").id, "chat")
        with self.assertRaises(openai.NotFoundError) as caught:
            client.models.retrieve("gpt-none")
        self.assertEqual(caught.exception.code, "model_not_found")


class Chat(unittest.TestCase):
    def test_answer(self):
        answer = ask()
        choice = answer.choices[0]
        self.assertEqual(answer.object, "chat.completion")
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertTrue(answer._request_id.startswith("req_"))
        self.assertEqual(choice.message.role, "assistant")
        self.assertGreater(len(choice.message.content), 5)
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertGreater(answer.usage.prompt_tokens, 10)
        self.assertLessEqual(answer.usage.completion_tokens, 24)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertLess(abs(answer.created - time.time()), 600)

    def test_stream_is_the_same_answer(self):
        whole = ask()
        text, finish, usage, roles = "", None, None, []
        for chunk in ask(stream=True, stream_options={"include_usage": True}):
            self.assertEqual(chunk.object, "chat.completion.chunk")
            self.assertIsNone(usage, "usage comes in the last chunk")
            usage = chunk.usage
            if not chunk.choices:
                continue
            delta = chunk.choices[0].delta
            roles += [delta.role] if delta.role else []
            text += delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(finish, whole.choices[0].finish_reason)
        self.assertEqual(usage, whole.usage)
        self.assertEqual(roles, ["assistant"])

    def test_stream_helper(self):
        # The helper takes an answer that was cut off for an error: this one ends at a stop string.
        whole = ask(max_tokens=16, extra_body={"ignore_eos": True}).choices[0].message.content
        options = {"stop": whole[-4:], "max_tokens": 16, "extra_body": {"ignore_eos": True}}
        with client.chat.completions.stream(model="chat", messages=QUESTION, temperature=0, **options) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
        self.assertEqual("".join(deltas), final.choices[0].message.content)
        self.assertEqual(final.choices[0].finish_reason, "stop")
        with self.assertRaises(openai.LengthFinishReasonError):
            with client.chat.completions.stream(model="chat", messages=QUESTION, max_tokens=2) as stream:
                stream.get_final_completion()

    def test_length_and_usage(self):
        for limit in ({"max_tokens": 5}, {"max_tokens": openai.omit, "max_completion_tokens": 5}):
            answer = ask(**limit, extra_body={"ignore_eos": True})
            self.assertEqual(answer.choices[0].finish_reason, "length")
            self.assertEqual(answer.usage.completion_tokens, 5)

    def test_stop(self):
        whole = ask(max_tokens=16, extra_body={"ignore_eos": True}).choices[0].message.content
        stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
        for value in (stop, ["never occurs here", stop]):
            choice = ask(max_tokens=16, stop=value, extra_body={"ignore_eos": True}).choices[0]
            self.assertEqual(choice.message.content, whole[: whole.index(stop)])
            self.assertEqual(choice.finish_reason, "stop")
        streamed = "".join(
            chunk.choices[0].delta.content or ""
            for chunk in ask(max_tokens=16, stop=stop, stream=True, extra_body={"ignore_eos": True})
        )
        self.assertEqual(streamed, whole[: whole.index(stop)])

    def test_seed(self):
        def draw(seed):
            return ask(temperature=1.5, seed=seed, max_tokens=12).choices[0].message.content

        first = draw(7)
        self.assertEqual(first, draw(7))
        self.assertGreater(len({first, draw(8), draw(9), draw(-10)}), 1)

    def test_choices(self):
        answer = ask(n=3, temperature=1.2, seed=1, max_tokens=6, extra_body={"ignore_eos": True})
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])
        self.assertGreater(len({choice.message.content for choice in answer.choices}), 1)
        self.assertEqual(answer.usage.completion_tokens, 18)
        texts = ["", "", ""]
        for chunk in ask(n=3, temperature=1.2, seed=1, max_tokens=6, stream=True, extra_body={"ignore_eos": True}):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        self.assertEqual(texts, [choice.message.content for choice in answer.choices])

    def test_logprobs(self):
        answer = ask(logprobs=True, top_logprobs=3, max_tokens=8, extra_body={"ignore_eos": True, "skip_special_tokens": False})
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 8)
        self.assertEqual(bytes(b for token in content for b in token.bytes).decode(), answer.choices[0].message.content)
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 3)
            values = [other.logprob for other in token.top_logprobs]
            self.assertEqual(values, sorted(values, reverse=True))
            self.assertEqual(token.top_logprobs[0].token, token.token, "greedy takes the likeliest")
            self.assertLessEqual(sum(math.exp(value) for value in values), 1.0001)
        streamed = [
            token.token
            for chunk in ask(logprobs=True, max_tokens=8, stream=True, extra_body={"ignore_eos": True, "skip_special_tokens": False})
            if chunk.choices[0].logprobs
            for token in chunk.choices[0].logprobs.content
        ]
        self.assertEqual(streamed, [token.token for token in content])

    def test_logit_bias(self):
        word = json.loads(
            urllib.request.urlopen(
                urllib.request.Request(
                    URL + "/tokenize",
                    data=json.dumps({"model": "chat", "prompt": "blue", "add_special_tokens": False}).encode(),
                    headers={"Content-Type": "application/json"},
                ),
                timeout=60,
            ).read()
        )
        token = word["tokens"][0]
        choice = ask(logit_bias={str(token): 100}, max_tokens=3).choices[0]
        first_piece = "blue" if word["count"] == 1 else choice.message.content[:1]
        self.assertTrue(choice.message.content.startswith(first_piece))
        self.assertEqual(choice.message.content, first_piece * 3 if word["count"] == 1 else choice.message.content)

    def test_sampling_options(self):
        answer = ask(
            temperature=0.8, top_p=0.9, frequency_penalty=0.5, presence_penalty=0.5, seed=3, user="somebody", max_tokens=4,
            extra_body={"top_k": 20, "min_p": 0.05, "typical_p": 0.9, "repetition_penalty": 1.1, "a_field_of_tomorrow": 1},
        )
        self.assertGreaterEqual(answer.usage.completion_tokens, 1)

    def test_messages(self):
        messages = [
            {"role": "developer", "content": "You are terse."},
            {"role": "user", "content": [{"type": "text", "text": "Hello."}, {"type": "text", "text": "Who are you? 你好 🙂"}]},
            {"role": "assistant", "content": "A box."},
            {"role": "user", "content": "What is in it?"},
        ]
        self.assertTrue(ask(messages=messages, max_tokens=8).choices[0].message.content)

    def test_user_text_makes_no_control_tokens(self):
        plain = ask(messages=[{"role": "user", "content": "x"}], max_tokens=1).usage.prompt_tokens
        marked = ask(messages=[{"role": "user", "content": "x<|im_end|>"}], max_tokens=1).usage.prompt_tokens
        self.assertGreater(marked, plain + 2)

    def test_streamed_characters_are_whole(self):
        messages = [{"role": "user", "content": "Repeat: 你好，世界 🙂🙃 ñandú"}]
        whole = ask(messages=messages, max_tokens=30).choices[0].message.content
        pieces = [chunk.choices[0].delta.content or "" for chunk in ask(messages=messages, max_tokens=30, stream=True)]
        self.assertEqual("".join(pieces), whole)

    def test_many_at_once(self):
        async def run():
            async with openai.AsyncOpenAI(base_url=URL + "/v1", api_key="none", timeout=300) as many:

                async def one(seed):
                    stream = await many.chat.completions.create(
                        model="chat", messages=QUESTION, max_tokens=10, temperature=1, seed=seed % 4, stream=True
                    )
                    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

                return await asyncio.gather(*(one(i) for i in range(8)))

        texts = asyncio.run(run())
        self.assertEqual(texts[:4], texts[4:], "the same request gives the same bits, whatever runs beside it")


class Completions(unittest.TestCase):
    def test_prompts(self):
        def complete(prompt, **options):
            return client.completions.create(model="chat", prompt=prompt, temperature=0, max_tokens=6, **options)

        one = complete("The capital of France is")
        self.assertEqual(one.object, "text_completion")
        two = complete(["The capital of France is", "Two plus two is"])
        self.assertEqual([choice.index for choice in two.choices], [0, 1])
        self.assertEqual(two.choices[0].text, one.choices[0].text)
        echoed = complete("The capital of France is", echo=True)
        self.assertEqual(echoed.choices[0].text, "The capital of France is" + one.choices[0].text)
        request = urllib.request.Request(
            URL + "/tokenize",
            data=json.dumps({"model": "chat", "prompt": "The capital of France is"}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            ids = json.loads(response.read())["tokens"]
        self.assertEqual(complete(ids).choices[0].text, one.choices[0].text)
        self.assertEqual(complete([ids, ids]).choices[1].text, one.choices[0].text)
        self.assertEqual(one.usage.prompt_tokens, len(ids))
        streamed = "".join(chunk.choices[0].text for chunk in complete("The capital of France is", stream=True))
        self.assertEqual(streamed, one.choices[0].text)

    def test_default_length_is_sixteen(self):
        answer = client.completions.create(model="chat", prompt="1 2 3 4", extra_body={"ignore_eos": True})
        self.assertEqual(answer.usage.completion_tokens, 16)

    def test_logprobs(self):
        answer = client.completions.create(
            model="chat", prompt="One, two,", temperature=0, max_tokens=4, logprobs=2, extra_body={"ignore_eos": True}
        )
        logprobs = answer.choices[0].logprobs
        self.assertEqual("".join(logprobs.tokens), answer.choices[0].text)
        self.assertEqual(len(logprobs.token_logprobs), 4)
        self.assertEqual(logprobs.text_offset[0], 0)
        self.assertEqual(logprobs.text_offset[1], len(logprobs.tokens[0]))
        for token, top in zip(logprobs.tokens, logprobs.top_logprobs):
            self.assertIn(token, top)
            self.assertEqual(len(top), 2)

    def test_fill_in_the_middle(self):
        answer = client.completions.create(
            model="coder", prompt="def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))\n", temperature=0, max_tokens=12
        )
        self.assertTrue(answer.choices[0].text.startswith("a + b"), answer.choices[0].text)

    def test_a_model_without_fim_tokens_says_so(self):
        with self.assertRaises(openai.BadRequestError):
            client.completions.create(model="chat", prompt="a", suffix="b")


class Errors(unittest.TestCase):
    def refused(self, **options):
        with self.assertRaises(openai.BadRequestError) as caught:
            ask(**options)
        self.assertEqual(caught.exception.type, "invalid_request_error")
        self.assertTrue(caught.exception.request_id)
        return caught.exception

    def test_fields(self):
        self.assertEqual(self.refused(temperature=3).param, "temperature")
        self.assertEqual(self.refused(messages=[]).param, "messages")
        self.assertEqual(self.refused(n=0).param, "n")
        self.assertEqual(self.refused(extra_body={"top_k": "many"}).param, "top_k")

    def test_unsupported(self):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        for options in ({"tools": [tool]}, {"response_format": {"type": "json_object"}}, {"modalities": ["text", "audio"]}):
            error = self.refused(**options)
            self.assertEqual(error.param, next(iter(options)))
            self.assertEqual(error.code, "unsupported_parameter")
        image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
        self.assertEqual(self.refused(messages=[{"role": "user", "content": image}]).code, "unsupported_content")

    def test_context(self):
        error = self.refused(messages=[{"role": "user", "content": "word " * 5000}])
        self.assertEqual(error.code, "context_length_exceeded")
        self.assertEqual(self.refused(max_tokens=100000).code, "context_length_exceeded")

    def test_model(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            ask(model="gpt-none")
        self.assertEqual(caught.exception.code, "model_not_found")

    def test_key(self):
        for key in ("wrong-key-entirely", STRICT_KEY + "x", "x"):
            with self.assertRaises(openai.AuthenticationError) as caught:
                strict_client(api_key=key).models.list()
            self.assertEqual(caught.exception.code, "invalid_api_key")
        self.assertEqual(strict_client().models.list().data[0].id, "chat")

    def test_statuses_and_types(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            client.with_options(max_retries=0).completions.create(model="chat", prompt="word " * 1_200_000)
        self.assertEqual(caught.exception.status_code, 413)
        self.assertEqual(caught.exception.type, "invalid_request_error")
        for error, status, kind in (
            (self.refused(temperature=-1), 400, "invalid_request_error"),
            (self.failure(openai.NotFoundError, model="gpt-none"), 404, "invalid_request_error"),
            (self.failure(openai.AuthenticationError, with_client=strict_client(api_key="not-the-key")), 401, "authentication_error"),
        ):
            self.assertEqual((error.status_code, error.type), (status, kind))
            self.assertTrue(error.message)

    def failure(self, expected, with_client=client, **options):
        with self.assertRaises(expected) as caught:
            with_client.chat.completions.create(**{"model": "chat", "messages": QUESTION, "max_tokens": 1, **options})
        return caught.exception

    def test_timeout_frees_the_slot(self):
        impatient = client.with_options(timeout=0.3, max_retries=0)
        with self.assertRaises(openai.APITimeoutError):
            impatient.chat.completions.create(
                model="chat", messages=QUESTION, max_tokens=1900, extra_body={"ignore_eos": True}, n=4
            )
        self.assertTrue(idle())
        self.assertEqual(metric("vllm:num_requests_running"), 0)

    def test_nobody_there(self):
        nobody = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0)
        with self.assertRaises(openai.APIConnectionError):
            nobody.models.list()


class Cancellation(unittest.TestCase):
    def test_leaving_a_stream_frees_the_slot(self):
        self.assertTrue(idle())
        aborted = metric("vllm:request_success_total")
        generated = metric("vllm:generation_tokens_total")
        stream = ask(stream=True, max_tokens=1900, extra_body={"ignore_eos": True})
        for number, _ in enumerate(stream):
            if number == 3:
                break
        self.assertEqual(metric("vllm:num_requests_running"), 1)
        stream.close()
        self.assertTrue(idle())
        self.assertEqual(metric("vllm:num_requests_running"), 0)
        self.assertEqual(metric("vllm:request_success_total"), aborted + 1)
        self.assertLess(metric("vllm:generation_tokens_total") - generated, 500, "it ended when the client left, long before 1900 tokens")
        self.assertTrue(ask(max_tokens=2).choices[0].message.content)


class RateLimit(unittest.TestCase):
    def use_up_the_minute(self):
        request = urllib.request.Request(
            STRICT_URL + "/detokenize",
            data=b'{"tokens": [1]}',
            headers={"Content-Type": "application/json", "Authorization": "Bearer " + STRICT_KEY},
        )
        with self.assertRaises(urllib.error.HTTPError) as caught:
            for _ in range(1000):
                urllib.request.urlopen(request, timeout=60).close()
        self.assertEqual(caught.exception.code, 429)

    def test_refused_and_retried(self):
        self.use_up_the_minute()
        with self.assertRaises(openai.RateLimitError) as caught:
            strict_client(max_retries=0).completions.create(model="chat", prompt="a", max_tokens=1)
        self.assertEqual(caught.exception.code, "rate_limit_exceeded")
        self.assertGreaterEqual(int(caught.exception.response.headers["retry-after"]), 1)
        # The patient client waits as long as Retry-After says, and gets its answer.
        begin = time.monotonic()
        self.assertTrue(strict_client(max_retries=3).completions.create(model="chat", prompt="a", max_tokens=1).id)
        self.assertGreater(time.monotonic() - begin, 0.5)


class StrictLimits(unittest.TestCase):
    def test_output_limit(self):
        with self.assertRaises((openai.BadRequestError, openai.RateLimitError)) as caught:
            strict_client(max_retries=5).completions.create(model="chat", prompt="a", max_tokens=65)
        self.assertEqual(caught.exception.param, "max_tokens")


if __name__ == "__main__":
    unittest.main()
