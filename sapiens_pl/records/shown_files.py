"""Which files of a run's folder are shown at its URL, and which are kept in both places."""

from __future__ import annotations

FOLDERS = ("records", ".processes", ".products", "detections")
"""Folders that a run reads again; they are listed as a whole."""
FILES = (
    "run.json",
    "failures.jsonl",
    "changed.txt",
    "evaluation.json",
    "person_detections.json",
    "person_images.json",
)
KEPT = (*FOLDERS, ".hydra")
_PARTS = ("people-", "pictures-")
_BEGUN = (".unfinished-", ".lock", ".new-", ".store-", "journal-")


def is_shown(name: str) -> bool:
    """False for files that only processes of this machine need.

    Args:
        name: from the run's folder, with slashes.
    """
    folder, _, file = name.rpartition("/")
    if name.startswith(_BEGUN) or file.startswith(_BEGUN):
        return False
    if folder == ".processes":
        return file.endswith((".json", ".progress")) or file == "closed"
    return not name.startswith(".products/") or file.endswith(".json")


def is_kept(name: str) -> bool:
    """False for what is made of the records: it is not read again, and so not kept here."""
    return "/" not in name or name.split("/")[0] in KEPT


def is_part(name: str) -> bool:
    """True for a part of the records, whose content never changes."""
    folder, _, file = name.rpartition("/")
    return folder == "records" and file.startswith(_PARTS)


def is_progress(name: str) -> bool:
    """True for what is written every second, and need not be shown that often."""
    return name.startswith(".processes/") and name.endswith(".progress")


def is_appended(name: str) -> bool:
    """True for what grows, and is shown again and again."""
    return name.startswith("detections/")


def is_log(name: str) -> bool:
    """True for what processes have said: no other process reads it, and it may be written to when others change."""
    return "/" not in name and name.endswith(".log")


def is_of_shard(name: str) -> bool:
    """True for what was detected in one tar or table."""
    return name.startswith("detections/shards/")
