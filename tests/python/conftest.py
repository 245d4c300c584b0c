"""What the tests of the package share. They run where it is installed: `scripts/test python`."""

import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"

# A DeepSeek-V3 of 0.1 M parameters: seconds to train.
TINY = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_act": "silu",
    "first_k_dense_replace": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "max_position_embeddings": 128,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 0,
    "qk_head_dim": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "rms_norm_eps": 1e-6,
    "rope_interleave": True,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": True,
    "vocab_size": 512,
}


def model_file(name):
    """A model that the tests use, or the test is skipped."""
    path = pathlib.Path(os.environ.get("MOEBOX_MODEL_DIR", "~/.cache/moebox/models")).expanduser() / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return path


@pytest.fixture(scope="session")
def smollm():
    return model_file("smollm2-135m-instruct-q4_1.gguf")


@pytest.fixture(scope="session")
def program():
    """The command, to compare with."""
    path = os.environ.get("MOEBOX_PROGRAM", "")
    if not os.access(path, os.X_OK):
        pytest.skip("MOEBOX_PROGRAM names no program")

    def run(*arguments, code=0):
        done = subprocess.run([path, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True)
        assert done.returncode == code, done.stderr.decode()
        return done.stdout

    return run


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture
def story(tmp_path):
    """A text of some thousand words."""
    names = ["Ana", "Ben", "Cleo", "Dan", "Eva", "Finn"]
    things = ["a red kite", "two old maps", "the small boat", "a loaf of bread", "seven stones"]
    places = ["by the river", "in the yard", "under the bridge", "at the market"]
    lines = [
        f"{names[i % 6]} found {things[i * 7 % 5]} {places[i * 3 % 4]}, and {names[(i * 5 + 1) % 6]} asked {i % 90 + 2} times why."
        for i in range(600)
    ]
    path = tmp_path / "story.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
