"""Removes products of records that have changed, of every format, whether asked for now or not."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from sapiens_pl.core.errors import ConfigError
from sapiens_pl.core.protocols import PictureProduct, VideoProduct
from sapiens_pl.core.structures import video_of
from sapiens_pl.products.chosen import Product
from sapiens_pl.products.memory import FOLDER, forget_videos
from sapiens_pl.products.picture_files import remove_files
from sapiens_pl.records.clearing import empty_folder, remove_file


def remove_of_pictures(folder: Path, products: Iterable[type[Product]], names: Collection[str]) -> None:
    """For pictures that are done again: a missing file is better than one with the earlier poses.

    What was made of their videos goes too.

    Args:
        folder: the run's.
        products: all that there are (`chosen.all_products`).
        names: of the pictures.

    Raises:
        WriteError: one cannot be removed.
    """
    videos = {video for video in map(video_of, names) if video is not None}
    for product in products:
        if PictureProduct in product.__mro__:
            remove_files(folder, product, names)  # type: ignore[arg-type]
        elif VideoProduct in product.__mro__:
            remove_files(folder, product, videos)  # type: ignore[arg-type]
    if videos:
        forget_videos(folder, videos)


def clear_products(folder: Path, products: Iterable[type[Product]]) -> None:
    """For a run that starts over: removes the folders and files of all products, and what is remembered of them.

    Raises:
        ConfigError: something cannot be removed.
    """
    for product in products:
        for place in places_of(product):
            if (folder / place).is_dir() or place.endswith("/"):
                empty_folder(folder / place)
            else:
                remove_file(folder / place)
    empty_folder(folder / FOLDER)


def check_places(folder: Path, products: Iterable[Product]) -> None:
    """Raises ConfigError if something else stands where a product will be."""
    for product in products:
        for place in places_of(product):
            path = folder / place
            if place.endswith("/") and os.path.lexists(path.parent / path.name) and not path.is_dir():
                raise ConfigError(f"{path} is not a folder; move it away, and run the same command again.")
            if not place.endswith("/") and path.is_dir():
                raise ConfigError(f"{path} is a folder; move it away, and run the same command again.")


def places_of(product: Product | type[Product]) -> tuple[str, ...]:
    """Names in the run's folder that the product makes; those of folders end with a slash."""
    return getattr(product, "outputs", None) or (f"{product.folder}/",)  # type: ignore[union-attr]
