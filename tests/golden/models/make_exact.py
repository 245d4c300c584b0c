#!/usr/bin/env python3
"""Writes exact logits of the two models of the catalogue, and the budget that int8 activations may take of them.

    make_exact.py MODEL_DIR [MODEL]...    (needs torch==2.11.0 transformers==5.23.0 gguf==0.19.0 numpy; about 4 GB of memory)

Exact: transformers loads the GGUF, dequantises the weights to float32 and computes in float32 with eager attention.
Budget: the same float model with the inputs of every linear layer rounded to int8, one scale (max / 127) a block of values: 256 where the
weights are K-quants, 32 where they are another quantised type. Nothing else is rounded, and no engine is involved.

<model>.exact.json   prompts by name of ../llama_cpp/prompts.json with their ids and positions; for each position the largest logit and the
                     standard deviation of the whole row, and the error of the int8 model = RMS(difference) / standard deviation of the
                     exact row, over `ids` and over the whole row.
<model>.ids.npy      (n_rows, 512) int32: the ids with the 256 largest logits and 256 others, evenly spread, of every row
<model>.logits.npy   (n_rows, 512) float32: their exact logits. Rows are the positions of all prompts in order.
<model>.greedy.json  for every prompt and every token of llama.cpp's greedy answer, that answer being fed: the exact model's choice, and the
                     budget in logits: two int8 engines may disagree there about the difference of two likely tokens by so much. Either
                     engine errs on either token: four errors, independent and as large as the int8 model's on the 16 largest logits of
                     that position (their standard deviation: what all share changes no order); three standard deviations of their sum.
                     Positions differ a lot: a few activations of SmolLM2 are far larger than the rest, and int8 rounds their neighbours away.
"""
import json
import pathlib
import sys

import gguf
import numpy
import torch
import transformers
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
LLAMA_CPP = HERE.parent / "llama_cpp"
MODELS = ["smollm2-135m-instruct-q4_1", "qwen2.5-coder-0.5b-instruct-q4_k_m"]
PROMPTS = ["en_long", "zh_science", "es_recipe", "code_cpp", "chat_en"]
N_TOP = N_SPREAD = 256
N_LIKELY = 16
N_DEVIATIONS = 3
MODULES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
           "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def activation_blocks(path):
    """{name of a linear layer: values per scale of its int8 inputs}, for the quantised ones."""
    blocks, names = {}, {}
    for tensor in gguf.GGUFReader(path).tensors:
        if tensor.tensor_type.name in ("F32", "F16", "BF16"):
            continue
        block = 256 if tensor.tensor_type.name.endswith("_K") else 32
        parts = tensor.name.split(".")
        names[tensor.name] = block
        if parts[0] == "blk":
            blocks[f"model.layers.{parts[1]}.{MODULES[parts[2]]}"] = block
    blocks["lm_head"] = names.get("output.weight", names["token_embd.weight"])
    return blocks


def round_to_int8(x, block):
    shape = x.shape
    x = x.reshape(*shape[:-1], -1, block)
    scale = x.abs().amax(-1, keepdim=True) / 127
    return (torch.round(x / torch.where(scale > 0, scale, 1)) * scale).reshape(shape)


@torch.inference_mode()
def rows_of(model, prompts):
    return numpy.concatenate([model(torch.tensor([p["tokens"]])).logits[0, p["positions"]].numpy() for p in prompts])


def load(model_dir, name):
    return AutoModelForCausalLM.from_pretrained(model_dir, gguf_file=f"{name}.gguf", dtype=torch.float32, attn_implementation="eager").eval()


def with_int8_inputs(model, path):
    for name, block in activation_blocks(path).items():
        model.get_submodule(name).register_forward_pre_hook(lambda _, args, block=block: (round_to_int8(args[0], block),))
    return model


def compare_rows(name, model_dir, prompt_ids):
    """Exact rows of logits at a few positions, and what int8 rounding does to them."""
    prompts = [{"name": n, "tokens": prompt_ids[n], "positions": [len(prompt_ids[n]) * k // 4 - 1 for k in (1, 2, 3, 4)]} for n in PROMPTS]
    model = load(model_dir, name)
    exact = rows_of(model, prompts)
    rounded = rows_of(with_int8_inputs(model, model_dir / f"{name}.gguf"), prompts)

    order = numpy.argsort(-exact, axis=1, kind="stable")
    spread = numpy.linspace(N_TOP, exact.shape[1] - 1, N_SPREAD).astype(int)
    ids = numpy.concatenate([order[:, :N_TOP], order[:, spread]], axis=1).astype(numpy.int32)
    numpy.save(HERE / f"{name}.ids.npy", ids)
    numpy.save(HERE / f"{name}.logits.npy", numpy.take_along_axis(exact, ids, axis=1))

    deviation = exact.std(axis=1)
    error = rounded - exact
    whole = numpy.sqrt((error ** 2).mean(axis=1)) / deviation
    chosen = numpy.sqrt((numpy.take_along_axis(error, ids, axis=1) ** 2).mean(axis=1)) / deviation
    result = {
        "transformers": transformers.__version__, "torch": torch.__version__, "prompts": prompts,
        "row_deviation": [round(float(d), 4) for d in deviation], "largest": [round(float(x), 4) for x in exact.max(axis=1)],
        "int8_error": [round(float(e), 6) for e in chosen], "int8_error_whole_row": [round(float(e), 6) for e in whole],
        "int8_error_median": float(numpy.median(chosen)),
    }
    (HERE / f"{name}.exact.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
    print(f"{name}: int8 activations err by {result['int8_error_median']:.4f} of the deviation (median); {result['int8_error']}", flush=True)


def greedy_budget(exact, rounded):
    """Budget of each row's difference of two likely tokens, in logits."""
    likely = numpy.argpartition(-exact, N_LIKELY, axis=1)[:, :N_LIKELY]
    error = numpy.take_along_axis(rounded - exact, likely, axis=1)
    return N_DEVIATIONS * 2 * error.std(axis=1)


def compare_greedy(name, model_dir, answers):
    """Both models along llama.cpp's answers: one prompt at a time, as a row of logits is large."""
    exact_model, int8_model = load(model_dir, name), with_int8_inputs(load(model_dir, name), model_dir / f"{name}.gguf")
    lines, n_different = [], 0
    for answer in answers:
        n_prompt = len(answer["prompt"])
        text = [{"tokens": answer["prompt"] + answer["greedy"][:-1], "positions": list(range(n_prompt - 1, n_prompt - 1 + len(answer["greedy"])))}]
        exact = rows_of(exact_model, text)
        budget = greedy_budget(exact, rows_of(int8_model, text))
        choice = exact.argmax(axis=1).tolist()
        n_different += sum(a != b for a, b in zip(choice, answer["greedy"]))
        lines.append(json.dumps({"name": answer["name"], "exact": choice, "budget": [round(float(b), 3) for b in budget]}, separators=(",", ":")))
    (HERE / f"{name}.greedy.json").write_text('{"prompts": [\n' + ",\n".join(lines) + "\n]}\n")
    print(f"{name}: llama.cpp's greedy tokens differ from the exact model's {n_different} times", flush=True)


def main():
    assert transformers.__version__ == "5.23.0", transformers.__version__
    model_dir = pathlib.Path(sys.argv[1])
    for name in sys.argv[2:] or MODELS:
        answers = json.loads((LLAMA_CPP / f"{name}.greedy.json").read_text())["prompts"]
        compare_greedy(name, model_dir, answers)
        compare_rows(name, model_dir, {a["name"]: a["prompt"] for a in answers})


if __name__ == "__main__":
    main()
