PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Everything in one environment; made again when the dependencies change.
$(BIN)/zoo: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version): make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.PHONY: demo test lint readme web clean

demo: $(BIN)/zoo  ## the main job on the embedded digits: train, evaluate, export, measure
	$(BIN)/zoo train mnist_cnn --dataset digits --output runs/demo --overwrite
	$(BIN)/zoo evaluate mnist_cnn --model runs/demo --output runs/demo
	$(BIN)/zoo export mnist_cnn --model runs/demo --format saved_model tflite --quantize none float16 int8 --output runs/demo
	@echo
	@echo "model     runs/demo/model.keras, for a phone runs/demo/model_int8.tflite"
	@echo "card      runs/demo/card.json"
	@echo "pictures  runs/demo/curves.png confusion_matrix.png calibration.png mistakes.png"

test: lint  ## the whole test suite, in two processes of one thread each: more would fight for the cores
	@! command -v npm > /dev/null || $(MAKE) --no-print-directory web/node_modules || echo "the packages of the web page could not be installed"
	TF_NUM_INTRAOP_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile
	@command -v npm > /dev/null && test -e $${CHROMIUM:-/usr/bin/chromium} || echo "the web page was not tested: that needs Node (npm) and Chromium"

# What the page is built from: its only parts that are not ours are LiteRT's runtime and, for docs/, a Markdown reader.
web/node_modules: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	touch $@

web: web/node_modules  ## the page with all published models, on 127.0.0.1:8000 (PORT=8001 make web)
	cd web && node build.js && node serve.js

lint: $(BIN)/zoo
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

readme: $(BIN)/zoo  ## the table of the published models in the README, and the page of each, from their cards
	$(BIN)/python -m recipes.cards readme README.md

clean:
	rm -rf $(VENV) runs build dist web/dist web/node_modules
