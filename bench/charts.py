#!/usr/bin/env python3
"""Draws the charts of README and docs/performance.md from bench/suite.py's report.

    python3 bench/charts.py build/bench/report.json docs/charts     (bench/requirements.txt)

Each chart exists in English and in Chinese (NAME.svg, NAME.zh-CN.svg). Text stays text: the reader's fonts show it.
"""
import json
import pathlib
import sys
import warnings

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

# The widths of Chinese are guessed: nothing is drawn with this machine's fonts.
warnings.filterwarnings("ignore", "Glyph .* missing")

OURS, OTHER, GRID = "#2f7d4f", "#9aa3ad", "#d7dbe0"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "moebox", "font.family": "sans-serif", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
         "axes.edgecolor": GRID, "axes.labelcolor": "#444444", "xtick.color": "#444444", "ytick.color": "#444444", "figure.facecolor": "white"}
CHINESE = {
    "tokens a second": "每秒词元数",
    "prefill 512": "预填充 512", "prefill 4096": "预填充 4096", "decode 128": "生成 128", "decode 64": "生成 64", "decode 64 at 4000": "4000 之后生成 64",
    "1 stream": "1 路", "8 streams": "8 路", "32 streams": "32 路",
    "turn of the conversation": "对话轮次", "seconds to the first token": "首个词元用时(秒)", "with the prefix cache": "有前缀缓存", "without": "没有",
    "edit": "改代码", "extract": "抽取", "plain": "自由文本", "sampled": "自由文本,采样", "with drafts": "有草稿",
}


def draw(report, folder):
    """The paths of the charts that the report has figures for."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for step, figure in (("speed", speed), ("agent_loop", agent_loop), ("speculation", speculation)):
        if not report.get(step):
            continue
        for suffix, say in (("", lambda text: text), (".zh-CN", lambda text: CHINESE.get(text, text))):
            with plt.rc_context(STYLE):
                drawing = figure(report[step], say)
                path = folder / f"{step}{suffix}.svg"
                drawing.savefig(path, metadata={"Date": None}, bbox_inches="tight")
                plt.close(drawing)
            drawn.append(path)
    return drawn


def bars(axes, names, values, labels, say):
    """Groups of bars, one group a name; `values` {series: (names)}, `labels` over the last series' bars."""
    width = 0.8 / len(values)
    for i, (series, heights) in enumerate(values.items()):
        places = [x - 0.4 + (i + 0.5) * width for x in range(len(names))]
        axes.bar(places, heights, width * 0.92, label=say(series), color=OURS if i == len(values) - 1 else OTHER)
    last = list(values.values())[-1]
    for x, (height, label) in enumerate(zip(last, labels)):
        axes.annotate(label, (x + 0.4 - width / 2, height), ha="center", va="bottom", xytext=(0, 2), textcoords="offset points", fontsize=8)
    axes.set_xticks(range(len(names)), [say(name).replace(" at ", "\nat ") for name in names], fontsize=8)
    axes.tick_params(length=0)
    axes.yaxis.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def speed(by_model, say):
    """A panel for each model: tokens a second of every measurement, and their ratios where a peer was measured."""
    tables = [table for report in by_model.values() for table in report["tables"]]
    drawing, panels = plt.subplots(1, len(tables), figsize=(5.2 * len(tables), 3.0), squeeze=False)
    for axes, table in zip(panels[0], tables):
        rows = table["rows"]
        values = {"llama.cpp": [row["llama_cpp"] for row in rows]} if "ratio" in rows[0] else {}
        values["moebox"] = [row["moebox"] for row in rows]
        bars(axes, [row["measurement"] for row in rows], values, [f"{row['ratio']:.1f}x" if "ratio" in row else f"{row['moebox']:.0f}" for row in rows], say)
        axes.set_title(table["model"].removesuffix(".gguf"), fontsize=9)
    panels[0][0].set_ylabel(say("tokens a second"))
    if "ratio" in tables[0]["rows"][0]:
        panels[0][0].legend(frameon=False, fontsize=8)
    return drawing


def agent_loop(by_model, say):
    """Time to the first token of each turn, with and without the prefix cache."""
    drawing, panels = plt.subplots(1, len(by_model), figsize=(5.2 * len(by_model), 2.8), squeeze=False)
    for axes, (model, report) in zip(panels[0], by_model.items()):
        turns = range(1, len(report["turns"]) + 1)
        for name, label, color in (("computed", "without", OTHER), ("cached", "with the prefix cache", OURS)):
            axes.plot(turns, [turn[f"{name}_ms"] / 1000 for turn in report["turns"]], color=color, label=say(label), linewidth=1.8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(say("turn of the conversation"))
        axes.yaxis.grid(True, color=GRID, linewidth=0.6)
        axes.set_title(model, fontsize=9)
    panels[0][0].set_ylabel(say("seconds to the first token"))
    panels[0][0].legend(frameon=False, fontsize=8)
    return drawing


def speculation(by_model, say):
    """Decode speed of each task, with and without drafts."""
    drawing, panels = plt.subplots(1, len(by_model), figsize=(5.2 * len(by_model), 2.8), squeeze=False)
    for axes, (model, tasks) in zip(panels[0], by_model.items()):
        values = {"without": [task["off"] for task in tasks.values()], "with drafts": [task["ngram"] for task in tasks.values()]}
        bars(axes, list(tasks), values, [f"{task['ratio']:.1f}x" for task in tasks.values()], say)
        axes.set_title(model, fontsize=9)
    panels[0][0].set_ylabel(say("tokens a second"))
    panels[0][0].legend(frameon=False, fontsize=8)
    return drawing


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    for chart in draw(json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2])):
        print(chart)
