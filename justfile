# `just` lists what there is.
default:
    @just --list

# Lint, format, types, fast tests
check: lint test-fast

# Lint, format, types
lint:
    ruff check .
    ruff format --check .
    mypy

# All tests
test:
    pytest

# Tests that take less than a third of a second each
test-fast:
    pytest -m "not slow"

# Which lines the tests run, also in processes of their own; what stands behind goes to pytest: `just coverage tests/boxes`
coverage *options:
    COVERAGE_FILE="$PWD/.coverage" pytest --cov --cov-report=term --cov-report=html {{options}}

# The site of docs/, in build/site (pip install -e '.[docs]')
docs:
    python docs/write_configuration.py
    NO_MKDOCS_2_WARNING=1 mkdocs build --strict

# Measurements, as ratios within one run; `just bench records` makes one of them
bench *names:
    python -m benchmarks {{names}}

# Wheel and source archive in dist/, each installed and tried in a folder of its own
build:
    .ci/build

# The fast tests with the lowest versions that pyproject.toml promises
lowest:
    .ci/lowest

# Everything that has to pass
ci:
    .ci/run
