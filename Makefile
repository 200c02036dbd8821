.PHONY: quality style test gpu

quality:
	ruff check .
	ruff format --check .
	mypy

style:
	ruff check --fix .
	ruff format .

test:
	pytest

# On a machine with a GPU: its tests, its benchmarks, the compile modes, a training to its end. What
# fails does not keep the rest from running.
OUT ?= runs/gpu
DATASET ?= fashion-mnist
gpu:
	mkdir -p $(OUT)
	-pytest -m gpu
	-pytest benchmarks/ --benchmark-only --benchmark-json $(OUT)/default.json
	-pytest benchmarks/test_step.py --benchmark-only --full --benchmark-json $(OUT)/modes.json \
		-k "(32x32x3 or 64x64x3) and (eager or graph or inductor)"
	accelerate launch launch/train.py --dataset $(DATASET) --eval-every auto \
		--eval-extractor efficientnet-lite0 --output-dir $(OUT)/run
