# A thin front over CMakePresets.json and scripts/: `make help` lists what there is.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# As typed, without make's own expansion of a dollar sign.
override MODEL := $(value MODEL)
override PROMPT := $(value PROMPT)
override MODELS := $(value MODELS)
export MODEL PROMPT MODELS

PREFIX ?= /usr/local
DESTDIR ?=
SOURCES = $(shell git ls-files '*.h' '*.cpp')

.PHONY: help run serve train recipe-tiny-moe test bench bench-peers fmt asan tsan install deb clean

help:
	@echo "make run [MODEL=name] [PROMPT=text]  build moebox, fetch a model, chat with it"
	@echo "make serve [MODEL=name]              an OpenAI-compatible server on http://127.0.0.1:8080"
	@echo "make train                           the trainer as well (fetches LibTorch): build/release/moebox train recipe.toml"
	@echo "make recipe-tiny-moe                 trains the model of recipes/tiny-moe from nothing (an hour and a half)"
	@echo "make test                            every test; the last line counts them"
	@echo "make bench [MODELS=\"name a.gguf\"]     every benchmark: tables, limits of this machine, build/bench/ (half an hour)"
	@echo "make bench-peers [MODELS=...]        the same, llama.cpp in the same run, interleaved (compiles it first)"
	@echo "make fmt                             format the sources in place"
	@echo "make asan, make tsan                 the tests under the sanitizers"
	@echo "make install [PREFIX=/usr/local]     the program, shell completions, licence"
	@echo "make deb                             a Debian package in build/"
	@echo "make clean                           remove build/"

run:
	@exec scripts/run

serve:
	@scripts/prepare run && scripts/build release moebox
	@exec build/release/moebox serve "$${MODEL:-smollm2-135m-instruct}"

train:
	@scripts/prepare run && scripts/prepare train && scripts/build release moebox
	@cmake --preset release -DMOEBOX_TRAIN=ON >build/release/train.log || { cat build/release/train.log >&2; exit 1; }
	@scripts/build release moebox moebox-data moebox-train

recipe-tiny-moe:
	@exec recipes/tiny-moe/run.sh

test:
	@exec scripts/test

bench bench-peers:
	@exec scripts/bench $(filter --peers,$(@:bench-peers=--peers))

fmt:
	@scripts/prepare fmt
	@clang-format-19 -i $(SOURCES)

asan tsan:
	@exec scripts/test $@

install:
	@scripts/prepare run && scripts/build release moebox moebox-data
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"

deb:
	@scripts/prepare deb && scripts/build release moebox moebox-data
	@cd build/release && cpack -G DEB -B ..

clean:
	@rm -rf build
