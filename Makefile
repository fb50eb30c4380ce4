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
BUNDLE := go run ./test/bundle/cmd/bundle
BUNDLE_IMAGE ?= ghcr.io/flux-autopilot/flux-operator-bundle:v$(VERSION)
# The version of Go's FIPS 140-3 module that is linked in and switched on: certified, v1.0.0, latest; off links the one of the toolchain, switched off.
FIPS ?= off
ARCHITECTURES := amd64 arm64
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
CATALOG_IMAGE ?= ghcr.io/flux-autopilot/flux-operator-catalog:latest
LDFLAGS := -s -w -X main.VERSION=v$(VERSION)

# One set of flags for every build, so that all of them share the compiler's cache.
export CGO_ENABLED := 0
export GOTOOLCHAIN := local
export GOFLAGS := -trimpath -buildvcs=false
export DISTRIBUTION_DIR := $(DISTRIBUTION)
export FLUX_RELEASES_DIR
export K8S_VERSION
export RIGHTS
# For how long the suites wait until an API server of their own runs: several start at once, on machines of any speed.
export KUBEBUILDER_CONTROLPLANE_START_TIMEOUT := 3m

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
test: check test-unit test-bundle test-e2e e2e-olm ## Prove everything: checks, unit and API server suites, the bundle, end to end and with OLM on a real node (as root)

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
image: distribution ## Build the operator's container image for amd64 and arm64 as an OCI layout in dist/image, without a container engine; make image [FIPS=certified]
	$(call say,Building the image $(IMAGE))
	@rm -rf $(DIST)/licenses && mkdir -p $(DIST)/licenses && cp LICENSE $(DIST)/licenses/
	@for arch in $(ARCHITECTURES); do \
	  GOARCH=$$arch GOFIPS140=$(FIPS) go build -ldflags '$(LDFLAGS)' -o $(DIST)/linux-$$arch/flux-operator . && \
	  go run ./tools/cmd/licenses --arch $$arch --out $(DIST)/licenses . || exit 1; done
	@go run ./tools/cmd/roots --out $(DIST)/ca-certificates.crt
	@go run ./test/testbed/image/cmd/mkimage --dockerfile Dockerfile --build-arg VERSION=v$(VERSION) --build-arg REVISION=$(REVISION) \
	  $(foreach arch,$(ARCHITECTURES),--binary $(DIST)/linux-$(arch)/flux-operator) --ca-bundle $(DIST)/ca-certificates.crt \
	  --add $(DISTRIBUTION):/data --add $(DIST)/licenses:/licenses --ref $(IMAGE) --out $(DIST)/image > $(DIST)/image.ref
	@cat $(DIST)/image.ref

.PHONY: sbom
sbom: image ## List the modules in the image, as CycloneDX in dist/sbom, and attach the lists to the image in dist/image
	$(call say,Listing the modules in the image)
	@mkdir -p $(DIST)/sbom && list=$$($(TOOL) cyclonedx-gomod) && for arch in $(ARCHITECTURES); do \
	  $$list bin -json -noserial -notimestamp -std -version v$(VERSION) -output $(DIST)/sbom/flux-operator-$$arch.cdx.json $(DIST)/linux-$$arch/flux-operator || exit 1; done
	@go run ./test/testbed/image/cmd/attach --layout $(DIST)/image --ref $(IMAGE) --type application/vnd.cyclonedx+json \
	  $(foreach arch,$(ARCHITECTURES),linux/$(arch)=$(DIST)/sbom/flux-operator-$(arch).cdx.json)

##@ Operator Lifecycle Manager

.PHONY: bundle
bundle: ## Generate the bundle into bundle/, with the image's tag
	$(call say,Generating the bundle)
	@sdk=$$($(TOOL) operator-sdk) && go run ./config/manifests/gen --operator-sdk $$sdk --version $(VERSION) --image $(IMAGE)

.PHONY: bundle-validate
bundle-validate: ## Run operator-sdk's validators and the catalogs' checks on bundle/; make bundle-validate [PREVIOUS=folder of the version before]
	$(call say,Validating the bundle)
	@sdk=$$($(TOOL) operator-sdk) && $(BUNDLE) validate bundle --operator-sdk $$sdk --kubernetes $(K8S_VERSION) --previous '$(PREVIOUS)'

.PHONY: scorecard
scorecard: ## Run the tests of operator-sdk scorecard on bundle/, without a cluster
	$(call say,Scoring the bundle)
	@tests=$$($(TOOL) scorecard-test) && $(BUNDLE) scorecard bundle --scorecard-test $$tests

.PHONY: catalog
catalog: image ## Make the bundle that is released, with the image's digest, in dist/bundle, and the catalog of it and of those in catalog/bundles in dist/catalog
	$(call say,Making the catalog)
	@built=$$($(TOOL) operator-sdk opm) && set -- $$built && image=$(IMAGE) && \
	  digest=$$(grep -o 'sha256:[0-9a-f]*' $(DIST)/image.ref) && \
	  go run ./config/manifests/gen --operator-sdk $$1 --version $(VERSION) --image $${image%:*}@$$digest --out $(DIST)/bundle && \
	  $(BUNDLE) catalog catalog/catalog-templates/stable.yaml --opm $$2 --released catalog/bundles --bundle $(BUNDLE_IMAGE)=$(DIST)/bundle --out $(DIST)/catalog/flux-operator

.PHONY: catalog-validate
catalog-validate: catalog ## Judge the catalog: every published version reaches the newest
	$(call say,Judging the catalog)
	@built=$$($(TOOL) operator-sdk opm) && set -- $$built && $(BUNDLE) catalog-validate $(DIST)/catalog/flux-operator --opm $$2 && \
	  $(BUNDLE) validate $(DIST)/bundle --operator-sdk $$1 --kubernetes $(K8S_VERSION)

.PHONY: bundle-image
bundle-image: catalog ## Build the image of the bundle in dist/bundle as an OCI layout in dist/bundle-image: the one that the catalog names
	$(call say,Building the image $(BUNDLE_IMAGE))
	@$(BUNDLE) image $(DIST)/bundle --ref $(BUNDLE_IMAGE) --out $(DIST)/bundle-image > $(DIST)/bundle-image.ref
	@cat $(DIST)/bundle-image.ref

.PHONY: catalog-image
catalog-image: bundle-image ## Build the image of the catalog in dist/catalog as an OCI layout in dist/catalog-image, for the processor of this machine
	$(call say,Building the image $(CATALOG_IMAGE))
	@built=$$($(TOOL) opm grpc_health_probe) && set -- $$built && rm -rf $(DIST)/catalog-bin && mkdir -p $(DIST)/catalog-bin && cp $$2 $(DIST)/catalog-bin/ && \
	  go run ./test/testbed/image/cmd/mkimage --dockerfile catalog.Dockerfile --binary $$1 --add $(DIST)/catalog-bin:/bin --add $(DIST)/catalog:/configs \
	  --ref $(CATALOG_IMAGE) --out $(DIST)/catalog-image > $(DIST)/catalog-image.ref
	@cat $(DIST)/catalog-image.ref

.PHONY: preflight
preflight: catalog ## Run the checks of openshift-preflight that need neither a cluster nor Red Hat's services, on the image and the bundle
	$(call say,Judging image and bundle as certification does)
	@pf=$$($(TOOL) preflight) && $(BUNDLE) preflight --preflight $$pf --image $(DIST)/image --bundle $(DIST)/bundle

##@ Tests

.PHONY: test-bundle
test-bundle: check-bundle bundle-validate scorecard catalog-validate bundle-image sbom check-image preflight ## Bundle, catalog and image, judged by the tools of the Operator Framework and of certification
	@go test ./test/bundle/suite -timeout 20m

.PHONY: check-image
check-image: image ## Fail when the image is another one when it is built again
	@$(MAKE) --no-print-directory image DIST=$(DIST)/again > /dev/null && cmp $(DIST)/image.ref $(DIST)/again/image.ref && rm -rf $(DIST)/again

.PHONY: check-bundle
check-bundle: bundle ## Fail when the bundle is stale
	@test -z "$$(git status --porcelain -- bundle bundle.Dockerfile config/manifests)" || \
	  { git status --short -- bundle bundle.Dockerfile config/manifests; echo "the bundle is stale: run make bundle and commit"; exit 1; }

.PHONY: test-unit
test-unit: monitoring-deps distribution ## Unit tests, and suites against a real API server
	$(call say,Testing the rooms and the shell)
	@assets=$$($(TESTBED) envtest-assets --k8s $(K8S_VERSION)) && \
	  KUBEBUILDER_ASSETS=$$assets go test $$(go list ./... | grep -v -e /test/e2e -e /test/testbed/smoke -e /test/bundle/suite) -timeout 30m
	@$(MAKE) --no-print-directory test-fips

.PHONY: test-fips
test-fips: ## The operator's own code and the verification of artifacts, with Go's FIPS 140-3 module switched on and with all else forbidden
	@for mode in on only; do \
	  GODEBUG=fips140=$$mode go test . ./pkg/artifact/... -skip TestTheOperatorRunsInFIPSMode -timeout 10m || exit 1; done

.PHONY: monitoring-deps
monitoring-deps: ## Install the Debian package prometheus, which judges the alerts (as root)
	@$(TESTBED) deps prometheus --install

.PHONY: pictures
pictures: testbed-deps monitoring-deps distribution ## Draw the dashboards of docs/pictures with the data of a real cluster and Prometheus (as root)
	$(call say,Living through what the dashboards show)
	@go run ./test/pictures --out $(DIST)/pictures
	@cd tools/pictures && go test ./... && go run . $(DIST)/pictures $(CURDIR)/docs/pictures

.PHONY: test-conformance
test-conformance: distribution ## Compare the distribution with released Flux manifests (FLUX_RELEASES_DIR)
	@go test -count=1 -v ./test/conformance/...

.PHONY: test-e2e
test-e2e: testbed-deps monitoring-deps distribution ## End to end on a real node: make test-e2e [FOCUS=regexp] [RIGHTS=olm, those that OLM makes of the bundle]
	$(call say,Testing the testbed and the operator end to end on Kubernetes $(K8S_VERSION))
	@go test ./test/testbed/smoke -count=1 -timeout 20m
	@go test ./test/e2e/... -count=1 -timeout 2h -v -ginkgo.v -ginkgo.timeout=2h $(if $(FOCUS),-ginkgo.focus='$(FOCUS)')

.PHONY: e2e-olm
e2e-olm: testbed-deps distribution ## The real Operator Lifecycle Manager installs, upgrades and removes the operator: make e2e-olm [FOCUS=regexp]
	$(call say,Testing the bundle with the Operator Lifecycle Manager on Kubernetes $(K8S_VERSION))
	@go test ./test/e2e-olm/... -count=1 -timeout 1h -v -ginkgo.v $(if $(FOCUS),-ginkgo.focus='$(FOCUS)')

.PHONY: test-matrix
test-matrix: ## The end-to-end suite on every Kubernetes minor that builds
	@for v in 1.36 1.35 1.34 1.33 1.32; do $(MAKE) test-e2e K8S_VERSION=$$v || exit 1; done

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (default 30s)
	@go list ./... | while read -r pkg; do for f in $$(go test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
	  go test $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-30s} -fuzzminimizetime 10x || exit 1; done; done

.PHONY: bench
bench: distribution ## Measure, print a table, and write docs/benchmarks.md; make bench ONLY=part,part prints some parts alone
	@go run ./test/bench/cmd/bench $(if $(ONLY),--only $(ONLY),--out docs/benchmarks.md)

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
