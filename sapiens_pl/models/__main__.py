"""The published models, as a table: `python -m sapiens_pl.models`."""

from __future__ import annotations

from sapiens_pl.core.configs import published_models
from sapiens_pl.core.interrupts import run
from sapiens_pl.core.logs import log_to_stderr
from sapiens_pl.core.terminal import keep_going_without_a_terminal
from sapiens_pl.models.hub import cached_weights

_HEADINGS = ("model=", "parameters", "TFLOP a crop", "keypoints", "licence", "weights")


def model_rows() -> list[tuple[str, ...]]:
    """A row a model, its columns as in the headings."""
    rows: list[tuple[str, ...]] = []
    for name, cfg in published_models():
        cached = cached_weights(cfg.hub.repository, cfg.hub.file)
        weights = f"here: {cached}" if cached else f"on the hub: {cfg.hub.repository}"
        numbers = f"{cfg.parameters / 1e6:.1f} M", f"{cfg.flops / 1e12:.2f}", str(cfg.keypoints)
        rows.append((name, *numbers, cfg.licence, weights))
    return rows


def main() -> None:
    keep_going_without_a_terminal()
    log_to_stderr()
    rows = [_HEADINGS, *model_rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


if __name__ == "__main__":
    run(main)
