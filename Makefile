# MAPDR from a fresh clone. `make demo` and `make test` are all that a newcomer needs.
#
# Each target makes what it lacks: a virtual environment, the build, the installation. A second run finds
# them and starts at once. No C compiler is needed; without one the plain Python twins do the work.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
SECONDS ?= 600
# Processes that run tests side by side: half of a test's time is waiting for disks, peers and deadlines.
WORKERS ?= 2
TARGETS := pdu command association scan runs elements meta frames answer multipart stow journal
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
SOURCES := pyproject.toml setup.py $(wildcard mapdr/_fast/*.pyx mapdr/_fast/*.pxi mapdr/_fast/vendor/*.h)

# In CI the same versions every time, those of the build too; elsewhere the newest that pyproject.toml allows.
LOCK := requirements/ci.txt
ifeq ($(CI),true)
CONSTRAINTS := $(LOCK)
export PIP_BUILD_CONSTRAINT := $(CONSTRAINTS)
endif
INSTALL = $(BIN)/python packaging/install.py "$(1)" $(addprefix --constraint ,$(CONSTRAINTS))

.PHONY: demo test check lock lowest kill crash clinic deidentify codecs freeze fuzz sanitize bench pictures documents clean mutants
.DELETE_ON_ERROR:

demo: $(VENV)/.installed  ## The router, three modalities, a PACS and a RIS, live on this terminal
	$(BIN)/mapdr demo $(ARGS)

test: $(VENV)/.tested  ## The whole suite; what needs a program that is not here is skipped and says so
	$(BIN)/python -m pytest -q -ra -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.checked  ## Style and types
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32
	$(BIN)/mypy $(wildcard docs/plugins/*/*.py)

lock: $(BIN)/python  ## The versions that CI installs, for every Python and system, anew into requirements/ci.txt
	@$(BIN)/python packaging/install.py "Installing uv" uv
	$(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate \
		--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
		--group test --group desktop --group check --group build --group freeze pyproject.toml --output-file $(LOCK)

# What comes to each library; most of the suite is about MAPDR's own work, whatever the library's version.
LOWEST := tests/config tests/contract tests/cli tests/net/http tests/notify tests/testing tests/wire/test_pdu.py \
	tests/wire/test_association.py tests/dicom/test_real_files.py tests/store/test_database.py \
	tests/store/test_writer.py tests/transform/test_jpeg2000.py tests/transform/test_foreign.py

lowest:  ## The lowest versions that pyproject.toml allows, in an environment of their own, with what comes to them
	@mkdir -p build
	$(PYTHON) packaging/lowest.py pyproject.toml > build/lowest.txt
	$(MAKE) test VENV=$(VENV)-lowest CONSTRAINTS=build/lowest.txt ARGS="$(LOWEST) $(ARGS)"

kill: $(VENV)/.tested  ## The long tests of the promise: 100 kills with four destinations over bad networks, 40 bad networks, a re-route
	$(BIN)/python -m pytest -q -s -m long tests/e2e/test_kill.py tests/e2e/test_cuts.py tests/e2e/test_reroute.py $(ARGS)

crash: $(VENV)/.tested  ## The store after a crash at every moment: MAPDR_CRASHES states at each (millions in all); some hours
	$(BIN)/python -m pytest -q -s -m long tests/crash $(ARGS)

clinic: $(VENV)/.tested  ## A week of a clinic: 20,000 images, two outages, a full disk, new certificates; a balance of zero
	$(BIN)/python -m pytest -q -s -m long tests/e2e/test_clinic.py $(ARGS)

deidentify: $(VENV)/.tested  ## Every file of the test data de-identified: nothing that identifies, references, dciodvfy, pixels
	$(BIN)/python -m pytest -q -s -m long tests/transform/test_deidentify_real.py $(ARGS)

codecs: $(VENV)/.tested  ## Every image of the test data by every method of compression, read by other programs; half an hour
	$(BIN)/python -m pytest -q -s -m long tests/transform/test_every_image.py tests/transform/test_hostile.py tests/transform/test_scratch.py $(ARGS)

freeze: $(VENV)/.tested  ## The program without Python: frozen from a wheel both ways, tried, and a node of it that routes
	$(BIN)/python -m pytest -q -s -m long tests/test_freeze.py $(ARGS)

fuzz: $(VENV)/.tested  ## What reads a peer's bytes, SECONDS each; then every property test with many more examples
	for target in $(TARGETS); do \
		$(BIN)/python tests/fuzz/campaign.py $$target --seconds $(SECONDS) || exit 1; done
	$(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile=deep --timeout=3600 $(ARGS)

# A copy of the sources, so that its extensions never mix with those that are used. Neither sanitizer can be
# loaded late: the compiler's own libraries go before Python's.
SANITIZED := build/sanitize
UNDER := PYTHONPATH=.:cli:web PYTHONMALLOC=malloc MAPDR_REQUIRE_EXTENSIONS=1 \
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:hard_rss_limit_mb=4096 \
	UBSAN_OPTIONS=print_stacktrace=1
SUITES := tests/fast tests/dicom/test_twins.py tests/dicom/test_plan.py tests/wire/test_channel.py \
	tests/wire/test_dimse.py tests/receive tests/egress/test_runs.py

sanitize: $(VENV)/.tested  ## The extensions under AddressSanitizer and UBSan: their tests, then what reads a peer's bytes, SECONDS each
	@mkdir -p $(SANITIZED)
	cd $(SANITIZED) && rm -rf mapdr cli web tests
	cp -pR mapdr cli web tests setup.py pyproject.toml README.md LICENSE $(SANITIZED)
	rm -f $(SANITIZED)/mapdr/_fast/*.so
	@$(call INSTALL,Installing what builds) --group build
	cd $(SANITIZED) && MAPDR_SANITIZE=1 MAPDR_REQUIRE_EXTENSIONS=1 $(abspath $(BIN))/python setup.py --quiet build_ext --inplace --parallel 2
	cd $(SANITIZED) && $(UNDER) $(abspath $(BIN))/python tests/sanitize/prove.py
	cd $(SANITIZED) && $(UNDER) $(abspath $(BIN))/python -m pytest -q $(SUITES) -p no:cacheprovider --timeout=600 $(ARGS)
	cd $(SANITIZED) && printf '%s\n' $(TARGETS) | \
		$(UNDER) xargs -n 1 -P 2 $(abspath $(BIN))/python tests/fuzz/campaign.py --seconds $(SECONDS)

mutants: $(VENV)/.tested  ## The tests under test: small faults put into ARGS="mapdr/deliver/settle ...", and which of them no near test notices
	PYTHONPATH=tests nice $(BIN)/python -m mutants $(ARGS)

bench: $(VENV)/.tested  ## The table of speeds against real peers, into benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks $(ARGS)

pictures: $(VENV)/.tested  ## What mapdr top and the page look like, into docs/pictures
	$(BIN)/python tests/paper/pictures.py docs/pictures
	$(BIN)/python tests/paper/page_pictures.py docs/pictures
	$(BIN)/python tests/paper/desktop_pictures.py docs/pictures

documents: $(VENV)/.installed  ## The documents that are made of the code: docs/conformance.md, reference.md, api.md, compression.md
	$(BIN)/python packaging/documents

clean:  ## Removes what these targets made; the data of a node is never touched
	rm -rf $(VENV) $(VENV)-lowest build dist mapdr.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo
	rm -f mapdr/_fast/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "MAPDR needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python3)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python could not make a virtual environment (on Debian: apt-get install python3-venv)"; exit 1; }
	@$(BIN)/python packaging/install.py "Making $(VENV)" --upgrade "pip>=25.1"

$(VENV)/.installed: $(SOURCES) $(CONSTRAINTS) | $(BIN)/python
	@$(call INSTALL,Installing MAPDR into $(VENV)) --editable .
	@$(BIN)/python -c 'from mapdr._fast import BACKEND; BACKEND == "cython" or print( \
		"No compiled extensions here (no C compiler?): the plain Python twins do the same work, slower.")'
	@touch $@

$(VENV)/.tested: $(VENV)/.installed
	@$(call INSTALL,Installing what the tests need) --group test --group desktop
	@touch $@

$(VENV)/.checked: $(VENV)/.installed
	@$(call INSTALL,Installing what checks) --group test --group check
	@touch $@
