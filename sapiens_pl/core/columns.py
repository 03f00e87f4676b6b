"""Pictures and their boxes as columns: a million of them are a few arrays, which loader processes share.

Legend: P pictures, N boxes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

NO_IMAGE_ID = -(2**63)
"""In a column of image ids, a picture that has none."""
_DECODED_AT_A_TIME = 4096


def encoded(text: str) -> bytes:
    """A name's bytes, as the disk has them."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, as only a JSON file can spell it
        return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """The inverse; bytes that are not UTF-8 become surrogates, so that they still name the file on the disk."""
    return data.decode("utf-8", "surrogateescape")


def as_unicode(text: str) -> str:
    """For columns of text, which take only Unicode: other bytes are written as escapes (`\\udcff`)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Names(Sequence[str]):
    """Strings, one after the other in one array of bytes.

    Args:
        data: (bytes,) uint8, in the form of `encoded`.
        offsets: (P + 1,) int64, where each text begins, and the end.
    """

    def __init__(self, data: np.ndarray, offsets: np.ndarray) -> None:
        self.data, self.offsets = data, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> Names:
        return cls.of_bytes(map(encoded, texts))

    @classmethod
    def of_bytes(cls, parts: Iterable[bytes]) -> Names:
        joined = list(parts)
        offsets = np.zeros(len(joined) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, joined), np.int64, len(joined)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(joined), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Names: ...

    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        return decoded(self.data[self.offsets[index] : self.offsets[index + 1]].tobytes())

    def __iter__(self) -> Iterator[str]:
        return map(decoded, self.as_bytes())

    def as_bytes(self) -> Iterator[bytes]:
        """Each text's bytes."""
        for start in range(0, len(self), _DECODED_AT_A_TIME):
            offsets = self.offsets[start : start + _DECODED_AT_A_TIME + 1]
            data = self.data[offsets[0] : offsets[-1]].tobytes()
            places = (offsets - offsets[0]).tolist()
            yield from map(data.__getitem__, map(slice, places, places[1:]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Names) or len(self) != len(other):
            return False
        if self is other:
            return True
        start, begin = self.offsets[0], other.offsets[0]
        same = np.array_equal(self.offsets - start, other.offsets - begin)
        data, others = self.data[start : self.offsets[-1]], other.data[begin : other.offsets[-1]]
        return same and np.array_equal(data, others)

    def __repr__(self) -> str:
        return f"Names.of({list(self)})"

    def select(self, indices: np.ndarray) -> Names:
        """Those at the (n,) positions, in their order."""
        import pyarrow as pa

        return names_of_arrow(self.arrow().take(pa.array(indices)))

    def arrow(self) -> Any:
        """The same as a pyarrow array of large binaries, without a copy."""
        import pyarrow as pa

        buffers = [None, pa.py_buffer(self.offsets), pa.py_buffer(self.data)]
        return pa.Array.from_buffers(pa.large_binary(), len(self), buffers)

    def positions(self, of: Names) -> np.ndarray:
        """(n,) int64: where each of the other names stands first among these, -1 for nowhere."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(of.arrow(), value_set=self.arrow()).fill_null(-1).to_numpy().astype(np.int64)
        pa.default_memory_pool().release_unused()  # else it keeps the memory of the names
        return found


class NamesBuilder:
    """Collects names one by one, without an object for each."""

    def __init__(self) -> None:
        self._data, self._ends = bytearray(), array("q", [0])

    def add(self, text: str) -> None:
        self._data += encoded(text)
        self._ends.append(len(self._data))

    def build(self) -> Names:
        """All names; nothing can be added any more."""
        return Names(np.frombuffer(self._data, np.uint8), np.frombuffer(self._ends, np.int64))


def names_of_arrow(array: Any) -> Names:
    """The names in a pyarrow array of large binaries that has no nulls."""
    _, offsets, data = array.buffers()
    if len(array) == 0:
        return Names(np.zeros(0, np.uint8), np.zeros(1, np.int64))
    places = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return Names(np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8), places)


class BoxColumns(NamedTuple):
    """The boxes of all pictures, those of picture i in the rows `offsets[i]` to `offsets[i + 1]`.

    `offsets` is (P + 1,) int64, `bboxes_xyxy` (N, 4) float64 in image px, where a row of NaN is the whole picture;
    `bbox_scores` (N,) float64, `instance_ids` (N,) int64. `image_ids` (P,) int64 are the numbers by which a box file
    names the pictures, or `NO_IMAGE_ID`. `raw_exif` says that the boxes live in the files' pixels before their EXIF
    orientation, `normalised` that they are parts of the pictures' width and height. `has_given_id` (N,) bool: the
    which instance ids the box file gives; None: none of them.
    """

    offsets: np.ndarray
    bboxes_xyxy: np.ndarray
    bbox_scores: np.ndarray
    instance_ids: np.ndarray
    image_ids: np.ndarray
    raw_exif: bool = False
    normalised: bool = False
    has_given_id: np.ndarray | None = None

    @property
    def num_pictures(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_boxes(self) -> np.ndarray:
        """(P,) int64."""
        return np.diff(self.offsets)


def whole_pictures(num_pictures: int) -> BoxColumns:
    """One box a picture: all of it."""
    return BoxColumns(
        np.arange(num_pictures + 1),
        np.full((num_pictures, 4), np.nan),
        np.ones(num_pictures),
        np.zeros(num_pictures, np.int64),
        np.full(num_pictures, NO_IMAGE_ID),
    )
