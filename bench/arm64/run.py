#!/usr/bin/env python3
"""Instructions per token on ARM64, moebox beside llama.cpp, counted under qemu-aarch64: for a Raspberry Pi 4 (ARMv8.0) and for processors with dot products.

    python3 bench/arm64/run.py MODEL.gguf [--prompt 32] [--answer 8] [--json FILE]

Needs what `scripts/prepare test` installs. Builds in build/arm64-bench: moebox's engine, llama.cpp from the source package of llama-cpp-python (once for each kind
of processor, for which it is compiled; moebox is one program that finds out), and the plugin that counts. A figure is the difference of two whole runs with one thread: prompts of
--prompt and of twice as many tokens; answers of one token and of --answer more. Instructions are not time: loads that miss and wide ones count as one.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "arm64-bench"
PEER = "llama-cpp-python==0.3.36"
# name: (qemu's processor, what llama.cpp is compiled for)
PROCESSORS = {"ARMv8.0 (Cortex-A72, Raspberry Pi 4)": ("cortex-a72", "armv8-a"), "dot products (Neoverse-N1)": ("neoverse-n1", "armv8.2-a+dotprod+fp16")}


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done


def build_plugin():
    plugin = BUILD / "count_instructions.so"
    run("gcc", "-O2", "-shared", "-fPIC", HERE / "count_instructions.c", "-o", plugin)
    return plugin


def build_moebox():
    run("cmake", "--preset", "arm64", "-B", BUILD / "moebox", "-DMOEBOX_TESTS=OFF", "-DMOEBOX_BENCH=ON", "-DMOEBOX_UNITY=ON", "-DCMAKE_BUILD_TYPE=Release", cwd=ROOT)
    run("ninja", "-C", BUILD / "moebox", "forward")
    return BUILD / "moebox" / "bench" / "forward"


def peer_source():
    folder = BUILD / "llama.cpp"
    if not folder.exists():
        run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "llama-cpp-python", "-d", BUILD, PEER)
        with tarfile.open(next(BUILD.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(BUILD / "unpacked", filter="data")
        next((BUILD / "unpacked").glob("*/vendor/llama.cpp")).rename(folder)
    return folder


def build_peer(architecture):
    source, folder = peer_source(), BUILD / f"llama.cpp-{architecture}"
    program = folder / "llama_forward"
    if not program.exists():
        off = [f"-D{name}=OFF" for name in ("BUILD_SHARED_LIBS", "GGML_NATIVE", "GGML_OPENMP", "LLAMA_CURL", "LLAMA_BUILD_COMMON", "LLAMA_BUILD_TOOLS", "LLAMA_BUILD_TESTS",
                                            "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_SERVER")]
        run("cmake", "-S", source, "-B", folder, "-G", "Ninja", f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cmake' / 'arm64.cmake'}", "-DCMAKE_BUILD_TYPE=Release",
            f"-DGGML_CPU_ARM_ARCH={architecture}", *off)
        run("ninja", "-C", folder, "llama")
        libraries = [folder / "src" / "libllama.a"] + [folder / "ggml" / "src" / f"lib{name}.a" for name in ("ggml", "ggml-cpu", "ggml-base")]
        run("aarch64-linux-gnu-g++", "-O2", "-static", f"-I{source / 'include'}", f"-I{source / 'ggml' / 'include'}", HERE / "llama_forward.cpp", *libraries, "-o", program)
    return program


def instructions(plugin, processor, program, model, n_prompt, n_answer):
    said = run("qemu-aarch64", "-cpu", processor, "-plugin", plugin, program, model, n_prompt, n_answer).stderr
    return int(re.search(r"^instructions: (\d+)$", said, re.MULTILINE).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--answer", type=int, default=8)
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    plugin, moebox = build_plugin(), build_moebox()
    report = {}
    print(f"{args.model.name}: million instructions a token, one thread\n{'':40}{'moebox':>9}{'llama.cpp':>11}{'ratio':>7}")
    for name, (processor, architecture) in PROCESSORS.items():
        counts = {}
        for program_name, program in (("moebox", moebox), ("llama.cpp", build_peer(architecture))):
            count = lambda prompt, answer: instructions(plugin, processor, program, args.model, prompt, answer)  # noqa: E731, B023
            once = count(args.prompt, 1)
            counts[program_name] = {f"prompt of {2 * args.prompt}, its second half": (count(2 * args.prompt, 1) - once) / args.prompt,
                                    "answer": (count(args.prompt, 1 + args.answer) - once) / args.answer}
        print(name)
        for work, ours in counts["moebox"].items():
            theirs = counts["llama.cpp"][work]
            print(f"  {work:38}{ours / 1e6:9.1f}{theirs / 1e6:11.1f}{ours / theirs:7.2f}", flush=True)
        report[name] = counts
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
