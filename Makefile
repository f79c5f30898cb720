# make demo | make test: each does its own set-up, on any machine with Python 3.11 and make.
VENV ?= .venv
# What an installation gets besides the base; a box that also trains: exchange,gentl,plant,trainer
EXTRAS ?= exchange,gentl,plant
# A folder of wheels to take instead of fetching any.
WHEELS ?=
# Tests at a time.
JOBS ?= 2
PYTHON ?= python3
RUN = $(VENV)/bin

.PHONY: setup demo test test-slow faults docs lock wheels bundle deb install upgrade uninstall
.DEFAULT_GOAL := test

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import ensurepip' || { echo 'Python has no venv: apt install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --constraint requirements.lock --editable '.[trainer,exchange,gentl,plant,dev]'
	touch $@

demo: setup  ## Live a compressed life of the appliance.
	$(RUN)/millsight demo

test: setup  ## Format, lint, types, import directions, docs, and every test but the slow ones.
	$(RUN)/python -m pytest -m 'not slow' -n $(JOBS) --dist loadfile

test-slow: setup  ## The tests that take minutes.
	$(RUN)/python -m pytest -m slow -s

faults: setup  ## Every fault 20 times, for real, while frames flow, and 200 power cuts (40 minutes).
	$(RUN)/python -m tests.faults --times 20
	$(RUN)/python -m tests.faults.power_cut --times 200

docs: setup  ## Write the generated pages and pictures of docs/ again.
	$(RUN)/python docs/build.py

lock: setup  ## Pin what is installed; torch without its build's suffix.
	$(RUN)/pip freeze --exclude-editable | sed 's/^torch==\([0-9.]*\).*/torch==\1/' > requirements.lock

# --- an appliance: docs/install.md ---

build/pip/ready:
	$(PYTHON) -m venv build/pip
	touch $@

wheels: build/pip/ready  ## All wheels into the folder WHEELS, for a machine without a network.
	build/pip/bin/pip download --quiet --dest $(or $(WHEELS),wheels) --constraint requirements.lock \
		'setuptools>=80' '.[$(EXTRAS)]'

bundle: build/pip/ready  ## One file with everything a box needs for this version, in dist/.
	rm -f dist/millsight-*.bundle
	build/pip/bin/python systemd/bundle.py dist $(EXTRAS) $(WHEELS)

deb: bundle  ## The same as a Debian package.
	systemd/deb.sh dist/millsight-*.bundle

install: bundle  ## Install this version on this machine, or upgrade to it; as root.
	$(PYTHON) -m systemd.install install dist/millsight-*.bundle

upgrade: install

uninstall:  ## Remove the program; settings and data stay.
	$(PYTHON) -m systemd.install uninstall
