"""Files that are damaged or crafted, by the thousand: `python -m benchmarks.fuzz [--seconds 300] [--seed 0]`

Pose and detector weights, a detector's folder, box files and pictures are changed at random (and the known bombs tried
as they are). Each must be read, or refused in one sentence: nothing else may be raised, nothing may hang, crash or
take much memory. A trial is made anew from its number alone: `--kind pose --only 1234` shows one.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.bombs import bombs
from benchmarks.fuzz_samples import KINDS, Kind
from sapiens_pl.core.errors import SapiensError

HANG_SECONDS = 60.0
"""So long for what takes a hundredth: other work may slow the machine."""
LONGEST_SENTENCE = 600
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_A_BOMB_EVERY = 25
"""Trials; they take a hundred times as long as others."""
_NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"99999999999999999999",
    b"2147483648",
    b'"1"',
    b"null",
    b"true",
    b"[]",
    b"{}",
)


class Trial(NamedTuple):
    """What came of one: a complaint if it was neither read nor refused in a sentence."""

    number: int
    refused: bool
    complaint: str | None
    grown_mb: float


class Account(NamedTuple):
    """What came of all."""

    num_trials: int
    num_refused: int
    complaints: list[str]
    peak_mb: float


def fuzz(name: str, seconds: float, seed: int, folder: Path) -> Account:
    """Trials of one kind for so long, in a child process that may hang or die."""
    end = time.monotonic() + seconds
    samples = KINDS[name].samples(folder)
    trials: list[Trial] = []
    fork = multiprocessing.get_context("fork")
    number = 0
    while time.monotonic() < end:
        receiving, sending = fork.Pipe(duplex=False)
        child = fork.Process(target=_work, args=(name, samples, seed, number, end, folder, sending))
        child.start()
        sending.close()
        died = False
        while not died and time.monotonic() < end + HANG_SECONDS:
            try:
                if not receiving.poll(HANG_SECONDS):
                    trials.append(Trial(number, False, "it hangs", 0.0))
                    died = True
                else:
                    trials.append(receiving.recv())
                number = trials[-1].number + 1
            except EOFError:
                child.join()
                if child.exitcode:
                    trials.append(Trial(number, False, f"the process ends with {child.exitcode}", 0.0))
                    number += 1
                died = True
        child.kill()
        child.join()
    complaints = [f"{name} {trial.number}: {trial.complaint}" for trial in trials if trial.complaint]
    peak = max((trial.grown_mb for trial in trials), default=0.0)
    return Account(len(trials), sum(trial.refused for trial in trials), complaints, peak)


def _work(
    name: str, samples: dict[str, bytes], seed: int, first: int, end: float, folder: Path, answers: Connection
) -> None:
    _quieten()
    number = first
    while time.monotonic() < end:
        answers.send(try_one(KINDS[name], samples, seed, number, folder))
        number += 1
    answers.close()
    os._exit(0)


def _quieten() -> None:
    """Decoders and libraries talk about damaged files on their own."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def try_one(kind: Kind, samples: dict[str, bytes], seed: int, number: int, folder: Path) -> Trial:
    """Makes the trial's file, has it read, and removes it."""
    rng = random.Random(f"{seed} {number}")
    crafted: dict[str, Callable[[], bytes]] = bombs() if kind.takes_bombs else {}
    if number % _A_BOMB_EVERY == 0 and number // _A_BOMB_EVERY < len(crafted):
        file_name = list(crafted)[number // _A_BOMB_EVERY]
        content = crafted[file_name]()
    else:
        file_name = rng.choice(list(samples))
        content = mutated(rng, samples[file_name], samples[rng.choice(list(samples))])
    path = folder / f"trial_{os.getpid()}" / file_name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if CLEAR.exists():
        CLEAR.write_text("5")  # the peak is now what is held
    held = _peak_mb()
    refused, complaint = False, None
    try:
        kind.read(path)
    except SapiensError as error:
        refused, sentence = True, str(error).replace(str(path), "PATH")
        if "\n" in sentence or len(sentence) > LONGEST_SENTENCE:
            complaint = f"{len(sentence)} characters: {sentence[:200]!r}"
    except BaseException as error:
        complaint = f"{type(error).__name__}: {str(error)[:200]!r} ({file_name})"
    grown = _peak_mb() - held
    path.unlink()
    return Trial(number, refused, complaint, grown)


def _peak_mb() -> float:
    return int(STATUS.read_text().split("VmHWM:")[1].split()[0]) / 1000 if STATUS.exists() else 0.0


def mutated(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The content with one to four changes: bits, bytes, lengths, pieces of itself and of another file."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        # Headers and indexes stand at the ends.
        start = rng.choice((0, max(len(data) - 4000, 0), rng.randrange(len(data))))
        at = min(start + rng.randrange(4000), len(data) - 1)
        length = rng.choice((1, 2, 4, 8, 64, 1000))
        match rng.randrange(9):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * rng.choice((1, 2, 100))
            case 5:
                data[at : at + length] = other[at : at + length]
            case 6:
                form = rng.choice(("<I", ">I", "<Q", ">Q", "<H", ">H"))
                value = rng.choice((0, 1, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1))
                data[at : at + struct.calcsize(form)] = struct.pack(form, value % 2 ** (8 * struct.calcsize(form)))
            case 7:
                data[at:at] = rng.choice(_NUMBERS)
            case _:
                digits = next((place for place in range(at, min(at + 200, len(data))) if 48 <= data[place] < 58), at)
                data[digits : digits + 1] = rng.choice(_NUMBERS)
    return bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="for all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="only this one")
    parser.add_argument("--only", type=int, help="only the trial of that number, with what it says")
    options = parser.parse_args()
    kinds = [options.kind] if options.kind else list(KINDS)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only is not None:
            kind = KINDS[kinds[0]]
            print(try_one(kind, kind.samples(folder), options.seed, options.only, folder))
            return
        accounts = {kind: fuzz(kind, options.seconds / len(kinds), options.seed, folder) for kind in kinds}
    for kind, account in accounts.items():
        print(
            f"{kind}: {account.num_trials} trials, {account.num_refused} refused in a sentence, "
            f"{len(account.complaints)} otherwise, the peak grew by {account.peak_mb:.0f} MB at most"
        )
    complaints = [complaint for account in accounts.values() for complaint in account.complaints]
    print("\n".join(complaints[:100]))
    print(json.dumps({"complaints": len(complaints), "seed": options.seed}))
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
