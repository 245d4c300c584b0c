#!/usr/bin/env python3
"""Writes tiny random models and the logits that Hugging Face transformers computes for them.

Not a source of real models: the weights are random multiples of 1/256, exact in F32, F16 and BF16 alike.
Needs torch==2.11.0 transformers==5.23.0 safetensors gguf==0.19.0 numpy. Run it in this folder; it replaces what it wrote before.

For each folder models/<name>:
  config.json, *.safetensors   a Hugging Face folder; the rope variants share one weights file by symbolic link
  <dtype>.gguf                 the same model as GGUF, for some
and in cases.json one entry a case: the model, the token ids, the positions, the file of logits (n_positions, vocab_size) float32,
and the tolerance. transformers runs in float32 with eager attention; again in float64 (every float32 inside it replaced).
The tolerance is 4 x the largest difference of the two: an engine that adds in another order errs about as much as transformers does.
For Q8_0 the reference is transformers with the dequantised weights. There the budget is a relative RMS: twice what the same float model
shows when the inputs of its linear layers are rounded to int8 with one scale per 32 values.
"""
import contextlib
import json
import math
import pathlib
import shutil

import gguf
import numpy
import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE / "models"
LOGITS = HERE / "logits"
TOLERANCE_FACTOR = 4
BUDGET_FACTOR = 2


# ---- the models -----------------------------------------------------------------------------------------------------------------

def base_config(arch, **changes):
    config = {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}[arch]],
        "model_type": arch, "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True, "vocab_size": 272, "bos_token_id": 0, "eos_token_id": 1,
    }
    config.update(changes)
    return config


def new_style(**rope):
    """transformers 5: everything about RoPE in one object."""
    return {"dtype": "float32", "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, **rope}}


def old_style(theta=10000.0, scaling=None):
    """transformers 4: rope_theta beside rope_scaling."""
    return {"torch_dtype": "float32", "rope_theta": theta, "rope_scaling": scaling}


# name: (config, name of the model whose weights it shares, number of safetensors shards)
MODEL_TABLE = {
    # Multi-head attention, an untied output, sizes that are no multiples of 32.
    "llama_mha": (base_config("llama", hidden_size=48, num_attention_heads=3, num_key_value_heads=3, intermediate_size=100,
                              tie_word_embeddings=False, rms_norm_eps=1e-6, **old_style()), None, 1),
    # head_dim is given and is not hidden_size / n_heads; attention biases; two shards.
    "llama_bias": (base_config("llama", head_dim=24, attention_bias=True, **new_style(rope_theta=500000.0)), None, 2),
    "llama_gqa": (base_config("llama", **new_style()), None, 1),
    "llama_linear": (base_config("llama", **old_style(scaling={"type": "linear", "factor": 4.0})), "llama_gqa", 0),
    "llama_llama3": (base_config("llama", **new_style(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                      original_max_position_embeddings=64)), "llama_gqa", 0),
    "llama_yarn": (base_config("llama", max_position_embeddings=256, **new_style(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=64)), "llama_gqa", 0),
    "llama_yarn_attention_factor": (base_config("llama", max_position_embeddings=256, **old_style(scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "attention_factor": 1.25, "beta_fast": 16.0,
        "beta_slow": 2.0})), "llama_gqa", 0),
    "llama_yarn_mscale": (base_config("llama", max_position_embeddings=256, **new_style(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=64, mscale=1.5, mscale_all_dim=0.5, truncate=False)),
        "llama_gqa", 0),
    "llama_dynamic": (base_config("llama", max_position_embeddings=64, **new_style(rope_type="dynamic", factor=3.0)), "llama_gqa", 0),
    "qwen2_tied": (base_config("qwen2", hidden_size=32, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64,
                               rms_norm_eps=1e-6, **old_style(1000000.0)), None, 1),
    "qwen2_untied_yarn": (base_config("qwen2", hidden_size=32, num_attention_heads=2, num_key_value_heads=1, intermediate_size=64,
                                      tie_word_embeddings=False, max_position_embeddings=256, rms_norm_eps=1e-6, **old_style(
                                          1000000.0, {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64})), None, 1),
}
GGUF_TABLE = {  # model: types of the matrices
    "llama_gqa": ["F32", "F16", "BF16", "Q8_0"],
    "llama_llama3": ["F16"],
    "llama_yarn": ["F16"],
    "llama_linear": ["F16"],
    "qwen2_tied": ["F32", "F16", "BF16", "Q8_0"],
    "qwen2_untied_yarn": ["F16"],
}


def random_weights(config, seed):
    """{name: float32 array}: multiples of 1/256 of at most 255/256 (norms: up to 2), so that F16 and BF16 hold them exactly."""
    rng = numpy.random.default_rng(seed)
    hidden, vocab, inter = config["hidden_size"], config["vocab_size"], config["intermediate_size"]
    head_dim = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    biased = config["model_type"] == "qwen2" or config.get("attention_bias", False)

    def draw(shape, std, limit=255):
        return (numpy.clip(numpy.round(rng.standard_normal(shape) * std * 256), -limit, limit) / 256).astype(numpy.float32)

    def linear(n_out, n_in, gain=1.5):
        return draw((n_out, n_in), gain / math.sqrt(n_in))

    weights = {"model.embed_tokens.weight": linear(vocab, hidden, 2.0)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, n_out, n_in in [("self_attn.q_proj", q, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden),
                                  ("self_attn.o_proj", hidden, q), ("mlp.gate_proj", inter, hidden), ("mlp.up_proj", inter, hidden),
                                  ("mlp.down_proj", hidden, inter)]:
            weights[prefix + name + ".weight"] = linear(n_out, n_in)
            if biased and name.startswith("self_attn") and (config["model_type"] == "llama" or not name.endswith("o_proj")):
                weights[prefix + name + ".bias"] = draw((n_out,), 0.5)
        for name in ["input_layernorm", "post_attention_layernorm"]:
            weights[prefix + name + ".weight"] = 1 + draw((hidden,), 0.25, 200)
    weights["model.norm.weight"] = 1 + draw((hidden,), 0.25, 200)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = linear(vocab, hidden, 2.0)
    return weights


def write_folder(name, config, weights, shared, n_shards):
    folder = MODELS / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")

    def save(tensors, file):
        save_file(tensors, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)

    if shared:
        (folder / "model.safetensors").symlink_to(pathlib.Path("..") / shared / "model.safetensors")
        return
    if n_shards == 1:
        save(weights, "model.safetensors")
        return
    names = list(weights)
    index = {"metadata": {"total_size": sum(w.nbytes for w in weights.values())}, "weight_map": {}}
    for shard in range(n_shards):
        part = names[shard * len(names) // n_shards:(shard + 1) * len(names) // n_shards]
        file = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        save({n: weights[n] for n in part}, file)
        index["weight_map"].update({n: file for n in part})
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


# ---- GGUF -----------------------------------------------------------------------------------------------------------------------

GGUF_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name):
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in fixed:
        return fixed[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[module]}.{kind}"


def interleave(rows, n_heads):
    """GGUF's llama rotates neighbouring pairs: row i of the first half of a head goes to 2i, row i of the second half to 2i + 1."""
    half = rows.shape[0] // n_heads // 2
    return rows.reshape(n_heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def llama3_factors(config, rope):
    """What llama3 scaling divides each frequency by (GGUF: the tensor rope_freqs.weight)."""
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    wavelength = 2 * math.pi * rope["rope_theta"] ** (numpy.arange(0, head_dim, 2) / head_dim)
    turns = rope["original_max_position_embeddings"] / wavelength
    smooth = numpy.clip((turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"]), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(numpy.float32)


def write_gguf(path, config, weights, dtype):
    arch = config["model_type"]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(path.parent.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    if arch == "llama":
        writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    rope = config.get("rope_parameters") or {"rope_theta": config["rope_theta"], **(config["rope_scaling"] or {})}
    writer.add_rope_freq_base(rope["rope_theta"])
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(config, rope))
    writer.add_tokenizer_model("no_vocab")
    quant = getattr(gguf.GGMLQuantizationType, dtype)
    for name, value in weights.items():
        if arch == "llama" and (".q_proj." in name or ".k_proj." in name):
            value = interleave(value, config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"])
        if value.ndim == 1:
            writer.add_tensor(gguf_name(name), value)
        else:
            writer.add_tensor(gguf_name(name), gguf.quantize(value, quant), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- transformers ---------------------------------------------------------------------------------------------------------------

class Float64Torch:
    """torch, with float64 wherever a module asks for float32."""

    def __getattr__(self, name):
        return torch.float64 if name in ("float", "float32") else getattr(torch, name)


@contextlib.contextmanager
def double_precision():
    """transformers computes norms, softmax and RoPE in float32 whatever the model's type: here they are float64 as well."""
    from transformers import modeling_rope_utils
    from transformers.models.llama import modeling_llama
    from transformers.models.qwen2 import modeling_qwen2
    modules = [modeling_rope_utils, modeling_llama, modeling_qwen2]
    for module in modules:
        module.torch = Float64Torch()
    try:
        yield
    finally:
        for module in modules:
            module.torch = torch


def load(folder, dtype, replaced=None):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=dtype).eval()
    for name, value in (replaced or {}).items():
        model.get_parameter(name).data = torch.from_numpy(value.copy()).to(dtype)
    return model


@torch.inference_mode()
def logits_of(model, ids, token_by_token_after=None):
    """(n_tokens, vocab_size). With token_by_token_after, later tokens are fed one by one through the KV cache."""
    tokens = torch.tensor([ids])
    if token_by_token_after is None or token_by_token_after >= len(ids):
        return model(tokens, use_cache=False).logits[0].double().numpy()
    out = model(tokens[:, :token_by_token_after], use_cache=True)
    rows = [out.logits[0]]
    for i in range(token_by_token_after, len(ids)):
        out = model(tokens[:, i:i + 1], past_key_values=out.past_key_values, use_cache=True)
        rows.append(out.logits[0])
    return torch.cat(rows).double().numpy()


def round_to_int8(x, block):
    """One scale per `block` values, max / 127, as an int8 kernel holds its activations."""
    shape = x.shape
    x = x.reshape(*shape[:-1], -1, block)
    scale = x.abs().amax(-1, keepdim=True) / 127
    return (torch.round(x / torch.where(scale > 0, scale, 1)) * scale).reshape(shape)


def with_int8_inputs(model, block):
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, args: (round_to_int8(args[0], block),))
    return model


def relative_rms(a, b):
    return float(numpy.sqrt(((a - b) ** 2).mean() / (b ** 2).mean()))


# ---- cases ----------------------------------------------------------------------------------------------------------------------

def make_case(name, model, n_tokens, positions, seed, token_by_token_after=None, note=None):
    ids = numpy.random.default_rng(seed).integers(0, MODEL_TABLE[model][0]["vocab_size"], n_tokens).tolist()
    single = logits_of(load(MODELS / model, torch.float32), ids, token_by_token_after)[positions]
    with double_precision():
        exact = logits_of(load(MODELS / model, torch.float64), ids, token_by_token_after)[positions]
    error = float(numpy.abs(single - exact).max())
    numpy.save(LOGITS / f"{name}.npy", single.astype(numpy.float32))
    case = {"name": name, "model": model, "tokens": ids, "positions": positions, "logits": f"logits/{name}.npy",
            "float32_error": error, "tolerance": TOLERANCE_FACTOR * error, "logits_rms": float(numpy.sqrt((exact ** 2).mean()))}
    if note:
        case["note"] = note
    print(f"{name:34} rms {case['logits_rms']:.3f}  float32 error {error:.2e}  tolerance {case['tolerance']:.2e}", flush=True)
    return case, exact


def add_q8_0(case, weights):
    """The reference for the Q8_0 twin: dequantised weights; and the budget that int8 activations may take."""
    quant = gguf.GGMLQuantizationType.Q8_0
    stored = {n: gguf.dequantize(gguf.quantize(w, quant), quant) for n, w in weights.items() if w.ndim == 2}
    folder = MODELS / case["model"]
    exact = logits_of(load(folder, torch.float32, stored), case["tokens"])[case["positions"]]
    rounded = logits_of(with_int8_inputs(load(folder, torch.float32, stored), 32), case["tokens"])[case["positions"]]
    file = f"logits/{case['name']}.q8_0.npy"
    numpy.save(HERE / file, exact.astype(numpy.float32))
    error = relative_rms(rounded, exact)
    case["q8_0"] = {"logits": file, "int8_relative_rms": error, "budget_relative_rms": BUDGET_FACTOR * error}
    print(f"{'':34} Q8_0: int8 activations give relative RMS {error:.2e}")


def main():
    assert transformers.__version__ == "5.23.0", transformers.__version__
    torch.set_num_threads(1)
    for folder in (MODELS, LOGITS):
        shutil.rmtree(folder, ignore_errors=True)
    LOGITS.mkdir()
    weights = {}
    for seed, (name, (config, shared, n_shards)) in enumerate(MODEL_TABLE.items()):
        weights[name] = weights[shared] if shared else random_weights(config, seed)
        write_folder(name, config, weights[name], shared, n_shards)
        for dtype in GGUF_TABLE.get(name, []):
            write_gguf(MODELS / name / f"{dtype.lower()}.gguf", config, weights[name], dtype)

    short = [0, 1, 15, 31, 32, 63, 70, 79]
    past = [0, 31, 62, 63, 64, 100, 128, 159]  # beyond the original 64 positions
    long = [0, 31, 511, 512, 513, 1023, 1024, 1099]  # around the borders of blocks and segments of a KV cache
    cases, plain = [], None
    for name in MODEL_TABLE:
        scaled = name.split("_", 1)[1].split("_")[0] in ("linear", "llama3", "yarn", "untied")
        if name == "llama_dynamic":
            note = ("Beyond the original length transformers' frequencies depend on the length seen so far. Fed token by token, "
                    "position p is rotated with the frequencies for length p + 1, and cached keys keep theirs: a function of position alone.")
            case, exact = make_case(name, name, 160, past, 100, token_by_token_after=64, note=note)
        else:
            case, exact = make_case(name, name, 160 if scaled else 80, past if scaled else short, 100)
        if name == "llama_gqa":
            plain = logits_of(load(MODELS / name, torch.float32), numpy.random.default_rng(100).integers(0, 272, 160).tolist())[past]
        elif MODEL_TABLE[name][1] == "llama_gqa":  # the case must be able to tell a model without scaling apart
            beyond = numpy.abs(exact - plain)[4:].max()
            assert beyond > 1000 * case["tolerance"], (name, beyond)
        if name in GGUF_TABLE:
            case["gguf"] = [t.lower() for t in GGUF_TABLE[name]]
            if "Q8_0" in GGUF_TABLE[name]:
                add_q8_0(case, weights[name])
        cases.append(case)
    cases.append(make_case("llama_gqa_long", "llama_gqa", 1100, long, 101)[0])
    cases.append(make_case("qwen2_tied_long", "qwen2_tied", 1100, long, 101)[0])
    lines = ",\n".join(json.dumps(c) for c in cases)
    (HERE / "cases.json").write_text('{"transformers": "%s", "torch": "%s", "cases": [\n%s\n]}\n' % (
        transformers.__version__, torch.__version__, lines))


if __name__ == "__main__":
    main()
