# natkeeper's commands. `make demo` and `make test` are all a newcomer needs; both set up what is missing.

PYTHON := .venv/bin/python
JSON ?=
JOBS ?= 1
RUNS ?=
ONLY ?=

.PHONY: help demo test check lint types imports template mutants bench vm lock clean
.DEFAULT_GOAL := help

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/ready system ## play the story with real packets (JSON=file writes the summary too)
	$(PYTHON) -m natkeeper_lab.demo $(if $(JSON),--json $(JSON))

test: .venv/ready system ## all tests; the core with every branch covered
	$(PYTHON) -m tools.run_tests

check: lint types imports template test ## everything that must hold before a change lands

lint: .venv/ready ## style
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: .venv/ready ## types, strict
	$(PYTHON) -m mypy

imports: .venv/ready ## who may import whom
	.venv/bin/lint-imports

template: .venv/ready .venv-sam/ready ## template.yaml as CloudFormation will see it
	$(PYTHON) tools/lint-template

mutants: .venv/ready ## break the core in 7,500 ways; the tests must notice (JOBS=n at a time)
	$(PYTHON) -m tools.mutants --jobs $(JOBS)

bench: .venv/ready system ## figures beside their floors (JSON=file, RUNS=10, ONLY="flows zones …")
	$(PYTHON) -m tools.bench $(if $(JSON),--json $(JSON)) $(if $(RUNS),--runs $(RUNS)) $(if $(ONLY),--only $(ONLY))

vm: .venv/ready system ## boot a NAT on a real machine, in QEMU (Debian, amd64, root; about 6 minutes without KVM)
	@tools/setup vm
	$(PYTHON) -m natkeeper_lab.vm.image build/vm
	NATKEEPER_VM=build/vm $(PYTHON) -m natkeeper_lab.sandbox -- $(PYTHON) -m pytest -p no:cacheprovider tests/vm

lock: .venv/ready ## newer dependencies, with their hashes (what is wanted: pyproject.toml)
	@tools/lock

clean: ## removes what the commands above made
	rm -rf .venv .venv-sam .aws-sam build/mutants build/vm .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.PHONY: system
system:
	@tools/setup system

.venv/ready: pyproject.toml requirements.lock tools/setup
	@tools/setup venv
	@touch $@

.venv-sam/ready: requirements-sam.lock tools/setup-sam
	@tools/setup-sam
	@touch $@
