.PHONY: quality style test

quality:
	ruff check .
	ruff format --check .
	mypy

style:
	ruff check --fix .
	ruff format .

test:
	pytest
