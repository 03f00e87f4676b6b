"""Image files: what they are, and their pixels, upright and whole."""

from sapiens_pl.pictures.orientation import TURNED_ORIENTATIONS, upright_bboxes
from sapiens_pl.pictures.reading import IMAGE_SUFFIXES, MAX_MEGAPIXELS, LoadedImage, read_image

__all__ = ["IMAGE_SUFFIXES", "MAX_MEGAPIXELS", "TURNED_ORIENTATIONS", "LoadedImage", "read_image", "upright_bboxes"]
