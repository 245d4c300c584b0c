#!/bin/sh
# make recipe-tiny-moe: from Debian's packages to a model that answers. Each step is left out where its result is there: remove a folder of build/tiny-moe to have it made anew.
set -eu
cd "$(dirname "$0")/../.."
recipe=recipes/tiny-moe
work=build/tiny-moe
moebox=build/release/moebox
step() { printf '\n== %s\n' "$*" >&2; }

make train
mkdir -p $work

if [ ! -s $work/sections.jsonl ]; then
  step "the help of a Debian desktop: 200 MB of packages"
  python3 $recipe/help_pages.py $work/sections.jsonl.part --packages $work/packages
  mv $work/sections.jsonl.part $work/sections.jsonl
fi
if [ ! -s $work/questions.jsonl ] && [ -s $recipe/questions.jsonl.xz ]; then
  step "the teacher's questions, as they were written for the published model ($recipe/questions.jsonl.xz)"
  xz -dc $recipe/questions.jsonl.xz >$work/questions.jsonl
fi
step "questions that are not there yet, by the teacher (all of them: 20 minutes)"
python3 $recipe/ask_teacher.py $work/sections.jsonl $work/questions.jsonl --moebox $moebox --first 8500
if [ ! -d $work/texts ]; then
  step "texts"
  python3 $recipe/texts.py $work/sections.jsonl $work/questions.jsonl $work/texts.part
  mv $work/texts.part $work/texts
fi
if [ ! -d $work/tokenizer ]; then
  step "a tokenizer of its own"
  $moebox tokenizer train --vocabulary 8192 --end-token '<|im_end|>' --special '<|im_start|>' --chat-template $recipe/chatml.jinja --out $work/tokenizer.part \
    $work/texts/pages.en.jsonl $work/texts/pages.zh.jsonl
  mv $work/tokenizer.part $work/tokenizer
fi
if [ ! -d $work/data ]; then
  step "tokens"
  $moebox data build $recipe/data.toml
fi
step "training: it goes on where it was stopped"
$moebox train $recipe/recipe.toml --resume
step "what it learnt"
python3 $recipe/evaluate.py $work/run/model.gguf --texts $work/texts --moebox $moebox --out $work/evaluation.json
