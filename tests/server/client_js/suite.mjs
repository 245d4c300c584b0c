// The official OpenAI client for JavaScript, unmodified, against moebox. run_clients.py starts the servers.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import OpenAI from "openai";

const { MOEBOX_URL, MOEBOX_STRICT_URL, MOEBOX_STRICT_KEY } = process.env;
const client = new OpenAI({ baseURL: `${MOEBOX_URL}/v1`, apiKey: "none", timeout: 300_000 });
const strict = (options = {}) =>
  new OpenAI({ baseURL: `${MOEBOX_STRICT_URL}/v1`, apiKey: MOEBOX_STRICT_KEY, timeout: 300_000, ...options });

const question = [{ role: "user", content: "Name three colours of the rainbow." }];
const ask = (body = {}, options = {}) =>
  client.chat.completions.create({ model: "chat", messages: question, temperature: 0, max_tokens: 24, ...body }, options);

const collect = async (stream) => {
  let text = "";
  let usage = null;
  let finish = null;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
  }
  return { text, usage, finish };
};

const metric = async (name) => {
  const text = await (await fetch(`${MOEBOX_URL}/metrics`)).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
};

const eventually = async (condition, ms = 30_000) => {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    if (await condition()) return true;
    await new Promise((done) => setTimeout(done, 50));
  }
  return condition();
};

/** No request is running, waiting, or still to be counted. */
const idle = () => eventually(async () => (await metric("moebox:requests_in_flight")) === 0);

describe("models", () => {
  it("lists and retrieves", async () => {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.deepEqual(names, ["chat", "coder"]);
    assert.equal((await client.models.retrieve("chat")).id, "chat");
    await assert.rejects(client.models.retrieve("gpt-none"), OpenAI.NotFoundError);
  });
});

describe("chat", () => {
  it("answers", async () => {
    const answer = await ask();
    assert.equal(answer.object, "chat.completion");
    assert.equal(answer.choices[0].message.role, "assistant");
    assert.ok(answer.choices[0].message.content.length > 5);
    assert.ok(answer._request_id.startsWith("req_"));
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  });

  it("streams the same answer, with usage in the last chunk", async () => {
    const whole = await ask();
    const streamed = await collect(await ask({ stream: true, stream_options: { include_usage: true } }));
    assert.equal(streamed.text, whole.choices[0].message.content);
    assert.equal(streamed.finish, whole.choices[0].finish_reason);
    assert.deepEqual(streamed.usage, whole.usage);
  });

  it("works with the stream helper", async () => {
    const runner = client.chat.completions.stream({ model: "chat", messages: question, temperature: 0, max_tokens: 8 });
    let text = "";
    runner.on("content", (delta) => (text += delta));
    assert.equal(await runner.finalContent(), text);
  });

  it("stops at stop strings", async () => {
    const free = { max_tokens: 16, ignore_eos: true };
    const whole = (await ask(free)).choices[0].message.content;
    const stop = whole.slice(whole.length >> 1, (whole.length >> 1) + 4);
    const expected = whole.slice(0, whole.indexOf(stop));
    const stopped = (await ask({ ...free, stop: [stop] })).choices[0];
    assert.equal(stopped.message.content, expected);
    assert.equal(stopped.finish_reason, "stop");
    assert.equal((await collect(await ask({ ...free, stop, stream: true }))).text, expected);
  });

  it("repeats an answer from its seed", async () => {
    const draw = async (seed) => (await ask({ temperature: 1.5, seed, max_tokens: 12 })).choices[0].message.content;
    const first = await draw(7);
    assert.equal(await draw(7), first);
    assert.ok(new Set([first, await draw(8), await draw(9)]).size > 1);
  });

  it("gives several choices and counts their tokens", async () => {
    const answer = await ask({ n: 3, temperature: 1.2, seed: 1, max_tokens: 6, ignore_eos: true });
    assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1, 2]);
    assert.equal(answer.usage.completion_tokens, 18);
  });

  it("gives logprobs", async () => {
    const answer = await ask({ logprobs: true, top_logprobs: 2, max_tokens: 6, ignore_eos: true, skip_special_tokens: false });
    const { content } = answer.choices[0].logprobs;
    assert.equal(content.length, 6);
    assert.equal(Buffer.from(content.flatMap((token) => token.bytes)).toString(), answer.choices[0].message.content);
    for (const token of content) {
      assert.ok(token.logprob <= 0);
      assert.equal(token.top_logprobs.length, 2);
      assert.equal(token.top_logprobs[0].token, token.token);
    }
  });
});

describe("completions", () => {
  it("takes text, texts and ids", async () => {
    const complete = (prompt, more = {}) =>
      client.completions.create({ model: "chat", prompt, temperature: 0, max_tokens: 6, ...more });
    const one = await complete("The capital of France is");
    const two = await complete(["The capital of France is", "Two plus two is"]);
    assert.equal(two.choices[0].text, one.choices[0].text);
    let text = "";
    for await (const chunk of await complete("The capital of France is", { stream: true })) text += chunk.choices[0].text;
    assert.equal(text, one.choices[0].text);
    const { tokens } = await (
      await fetch(`${MOEBOX_URL}/tokenize`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ model: "chat", prompt: "The capital of France is" }),
      })
    ).json();
    assert.equal((await complete(tokens)).choices[0].text, one.choices[0].text);
  });
});

describe("errors", () => {
  it("have their class, status, code and param", async () => {
    const refused = async (body) => {
      try {
        await ask(body);
      } catch (error) {
        assert.ok(error instanceof OpenAI.BadRequestError, String(error));
        return error;
      }
      assert.fail("accepted");
    };
    assert.equal((await refused({ temperature: 3 })).param, "temperature");
    assert.equal((await refused({ max_tokens: 100_000 })).code, "context_length_exceeded");
    assert.equal((await refused({ response_format: { type: "json_object" } })).code, "unsupported_parameter");
    const expected = { status: 400, type: "invalid_request_error", param: "n", code: "invalid_value" };
    assert.deepEqual({ ...expected, ...(await refused({ n: 0 })).error, message: "", status: 400 }, { ...expected, message: "" });
    await assert.rejects(ask({ model: "gpt-none" }), { constructor: OpenAI.NotFoundError, status: 404, code: "model_not_found" });
    await assert.rejects(strict({ apiKey: "wrong-key-entirely" }).models.list(), {
      constructor: OpenAI.AuthenticationError,
      status: 401,
      type: "authentication_error",
      code: "invalid_api_key",
    });
    await assert.rejects(ask({ messages: [{ role: "user", content: "word ".repeat(1_200_000) }] }, { maxRetries: 0 }), { status: 413 });
  });

  it("include time-outs and servers that are not there", async () => {
    await assert.rejects(
      ask({ max_tokens: 1900, ignore_eos: true, n: 4 }, { timeout: 300, maxRetries: 0 }),
      OpenAI.APIConnectionTimeoutError,
    );
    assert.ok(await idle());
    const nobody = new OpenAI({ baseURL: "http://127.0.0.1:9/v1", apiKey: "none", maxRetries: 0 });
    await assert.rejects(nobody.models.list(), OpenAI.APIConnectionError);
  });
});

describe("cancellation", () => {
  it("frees the slot of a stream that is left or aborted", async () => {
    assert.ok(await idle());
    const before = await metric("vllm:request_success_total");
    const generated = await metric("vllm:generation_tokens_total");
    const left = await ask({ stream: true, max_tokens: 1900, ignore_eos: true });
    for await (const _ of left) break;
    const aborted = await ask({ stream: true, max_tokens: 1900, ignore_eos: true });
    for await (const _ of aborted) aborted.controller.abort();
    assert.ok(await idle());
    assert.equal(await metric("vllm:num_requests_running"), 0);
    assert.equal(await metric("vllm:request_success_total"), before + 2);
    assert.ok((await metric("vllm:generation_tokens_total")) - generated < 1000, "they ended when the client left");
  });
});

describe("retries", () => {
  it("wait as long as Retry-After says", async () => {
    let status = 200;
    for (let i = 0; i < 1000 && status === 200; i++) {
      const response = await fetch(`${MOEBOX_STRICT_URL}/detokenize`, {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${MOEBOX_STRICT_KEY}` },
        body: '{"tokens": [1]}',
      });
      await response.text();
      status = response.status;
    }
    assert.equal(status, 429);
    const body = { model: "chat", prompt: "a", max_tokens: 1 };
    await assert.rejects(strict({ maxRetries: 0 }).completions.create(body), OpenAI.RateLimitError);
    assert.ok((await strict({ maxRetries: 3 }).completions.create(body)).id);
  });
});
