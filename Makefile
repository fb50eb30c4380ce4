# Everything runs from source: tools are built from pinned modules into a cache outside the checkout, nothing is downloaded ready-made.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
.SUFFIXES:

VERSION ?= 0.1.0
IMAGE ?= ghcr.io/flux-autopilot/flux-operator:v$(VERSION)
RELEASES ?=
K8S_VERSION ?= 1.36
DIST := $(CURDIR)/dist
DISTRIBUTION := $(DIST)/distribution
TOOL := go run ./tools/cmd/build
GENERATE = go run ./distribution/cmd/generate $(if $(RELEASES),--releases $(RELEASES))
TESTBED := go run ./test/testbed/cmd/testbed
LDFLAGS := -s -w -X main.VERSION=v$(VERSION)

# One set of flags for every build, so that all of them share the compiler's cache.
export CGO_ENABLED := 0
export GOTOOLCHAIN := local
export GOFLAGS := -trimpath -buildvcs=false
export DISTRIBUTION_DIR := $(DISTRIBUTION)
export FLUX_RELEASES_DIR
export K8S_VERSION

say = @printf '\n\033[1m== %s\033[0m\n' "$(1)"

##@ General

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*##"; printf "\nUsage: make \033[36mTARGET\033[0m\n"} \
	  /^[a-zA-Z0-9_-]+:.*?##/ {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2} \
	  /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)}' $(MAKEFILE_LIST)

.PHONY: demo
demo: testbed-deps distribution ## Show the main job end to end on a real cluster (as root)
	@go run ./test/demo

.PHONY: test
test: check test-unit test-e2e ## Prove everything: checks, unit and API server suites, end to end on a real node (as root)

##@ Development

.PHONY: generate
generate: ## Regenerate deep copies, CRDs and the API reference
	$(call say,Generating code CRDs and API reference)
	@cg=$$($(TOOL) controller-gen) && \
	  $$cg object paths=./apis/... && \
	  $$cg crd paths=./apis/... output:crd:dir=config/crd/bases && \
	  go run ./docs/api/gen

.PHONY: check
check: check-generated lint ## Check formatting, generated files and the lint rules

.PHONY: check-generated
check-generated: generate ## Fail when generated files are stale or Go files are not formatted
	@git diff --exit-code -- apis config/crd docs/api || { echo "generated files are stale: run make generate and commit"; exit 1; }
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }

.PHONY: lint
lint: ## Run the linters, the import law among them
	$(call say,Linting)
	@gl=$$($(TOOL) golangci-lint) && $$gl run --allow-parallel-runners --timeout 20m ./...

.PHONY: build
build: ## Build the operator and the command-line tool into bin/
	go build -ldflags '$(LDFLAGS)' -o bin/flux-operator-manager .
	go build -ldflags '$(LDFLAGS)' -o bin/flux-operator ./cmd/flux-operator

.PHONY: distribution
distribution: ## Generate what this project ships as Flux into dist/distribution
	$(call say,Generating the Flux distribution)
	@missing=$$($(GENERATE) --list-generators) && \
	  built=$$(test -z "$$missing" || $(TOOL) $$missing) && \
	  $(GENERATE) --out $(DISTRIBUTION) $$(for tool in $$built; do echo --controller-gen $$tool; done)

.PHONY: image
image: distribution ## Build the operator's container image as an OCI layout in dist/image, without a container engine
	$(call say,Building the image $(IMAGE))
	@go build -ldflags '$(LDFLAGS)' -o $(DIST)/flux-operator .
	@mkdir -p $(DIST)/licenses && cp LICENSE $(DIST)/licenses/
	@go run ./test/testbed/image/cmd/mkimage --binary $(DIST)/flux-operator --entrypoint /flux-operator \
	  --add $(DISTRIBUTION):/data --add $(DIST)/licenses:/licenses \
	  --label org.opencontainers.image.version=v$(VERSION) --label org.opencontainers.image.licenses=Apache-2.0 \
	  --ref $(IMAGE) --out $(DIST)/image

##@ Tests

.PHONY: test-unit
test-unit: distribution ## Unit tests, and suites against a real API server
	$(call say,Testing the rooms and the shell)
	@assets=$$($(TESTBED) envtest-assets) && \
	  KUBEBUILDER_ASSETS=$$assets go test $$(go list ./... | grep -v -e /test/e2e -e /test/testbed/smoke) -timeout 15m

.PHONY: test-conformance
test-conformance: distribution ## Compare the distribution with released Flux manifests (FLUX_RELEASES_DIR)
	@go test -count=1 -v ./test/conformance/...

.PHONY: test-e2e
test-e2e: testbed-deps distribution ## End to end on a real node: make test-e2e [FOCUS=regexp]
	$(call say,Testing the testbed and the operator end to end on Kubernetes $(K8S_VERSION))
	@go test ./test/testbed/smoke -count=1 -timeout 20m
	@go test ./test/e2e/... -count=1 -timeout 60m -v -ginkgo.v $(if $(FOCUS),-ginkgo.focus='$(FOCUS)')

.PHONY: test-matrix
test-matrix: ## The end-to-end suite on every Kubernetes minor that builds
	@for v in 1.36 1.35 1.34 1.33 1.32; do $(MAKE) test-e2e K8S_VERSION=$$v || exit 1; done

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (default 30s)
	@go list ./... | while read -r pkg; do for f in $$(go test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
	  go test $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} -fuzzminimizetime 10x || exit 1; done; done

.PHONY: bench
bench: distribution ## Measure, print a table, and write docs/benchmarks.md
	@go run ./test/bench/cmd/bench --out docs/benchmarks.md

##@ Testbed

.PHONY: testbed-deps
testbed-deps: ## Install the Debian packages a real node needs (as root)
	@$(TESTBED) deps --install

.PHONY: testbed-up
testbed-up: testbed-deps distribution ## Start a real cluster with registry and Git server
	@$(TESTBED) up --k8s $(K8S_VERSION)

.PHONY: testbed-down
testbed-down: ## Stop it and leave nothing behind
	@$(TESTBED) down

.PHONY: testbed-status
testbed-status: ## Show what runs
	@$(TESTBED) status

.PHONY: clean
clean: ## Remove build results from the checkout (the cache stays)
	@rm -rf bin dist
