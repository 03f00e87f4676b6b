"""Names and numbers as people's programs write them: found where one image can be meant, else both are named."""

from __future__ import annotations

import unicodedata

import pytest

from sapiens_pl.boxes.image_finder import ImageFinder, ImageNumbers, NoImage, plain_id
from sapiens_pl.core.columns import Names
from sapiens_pl.core.plan import Pictures

NFC, NFD = (unicodedata.normalize(form, "sub/café.jpg") for form in ("NFC", "NFD"))


def source_of(*names, root="/data/photos"):
    return Pictures(root, Names.of(names), True)


def found(key, *names):
    index = ImageFinder(source_of(*names)).find(key)
    return None if index is None else names[index]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("sub/a.jpg", "sub/a.jpg"),
        ("./sub/a.jpg", "sub/a.jpg"),
        ("sub//x/../a.jpg", "sub/a.jpg"),
        ("/data/photos/sub/a.jpg", "sub/a.jpg"),
        ("photos/sub/a.jpg", "sub/a.jpg"),
        ("../photos/sub/a.jpg", "sub/a.jpg"),
        ("/elsewhere/sub/a.jpg", "sub/a.jpg"),
        ("a.jpg", "sub/a.jpg"),
        ("sub\\a.jpg", "sub/a.jpg"),
        (".\\sub\\a.jpg", "sub/a.jpg"),
        ("C:\\data\\sub\\a.jpg", "sub/a.jpg"),
        ("d:/data/sub/a.jpg", "sub/a.jpg"),
        ("\\\\server\\share\\sub\\a.jpg", "sub/a.jpg"),
        ("file:///data/photos/sub/a.jpg", "sub/a.jpg"),
        ("file://localhost/data/photos/sub/a.jpg", "sub/a.jpg"),
        ("file:///C:/data/sub/a.jpg", "sub/a.jpg"),
        ("file:///data/photos/sub/my%20cat.jpg", "sub/my cat.jpg"),
        ("https://example.org/photos/sub/a.jpg", "sub/a.jpg"),
        ("sub/my%20cat.jpg", "sub/my cat.jpg"),
        ("sub/A.JPG", "sub/a.jpg"),
        (NFC, NFD),
        (NFC.replace("/", "\\"), NFD),
        ("sub/caf\udce9.jpg", NFD),
        ("other/a.jpg", None),
        ("a", None),
        ("", None),
    ],
)
def test_a_name_written_otherwise(key, expected):
    assert found(key, "sub/a.jpg", "sub/my cat.jpg", NFD, "b.jpg") == expected


def test_a_name_as_it_is_on_the_disk_comes_first():
    names = ("sub\\a.jpg", "sub/a.jpg", "A.jpg", "a.jpg", NFC, NFD, "my%20cat.jpg", "my cat.jpg")
    for name in names:
        assert found(name, *names) == name
    assert found("x/" + NFD, *names) == NFD


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("twice.jpg", ("sub/twice.jpg", "t/twice.jpg")),
        ("C:\\x\\twice.jpg", ("sub/twice.jpg", "t/twice.jpg", "twice.jpg")[:2]),
        ("A.jpG", ("a.jpg", "A.JPG")),
        ("sub\\a.jpg", ("x/sub/a.jpg", "y/sub/a.jpg")),
        ("/elsewhere/sub/a.jpg", ("a.jpg", "sub/a.jpg")),
    ],
)
def test_a_name_that_could_mean_two_is_none_and_both_are_named(key, names):
    finder = ImageFinder(source_of(*names))
    if "twice" in key and key != "twice.jpg":  # neither lies in a folder x: it ends in no whole name
        assert finder.find(key) is None and not finder.why_not(key).here
        return
    why = finder.why_not(key)
    assert finder.find(key) is None and why.here and f"could be {names[0]} or {names[1]}" in why.reason


def test_the_folders_above_the_root_decide():
    source = source_of("a.jpg", "sub/a.jpg")
    assert ImageFinder(source).find("/old/photos/sub/a.jpg") is None  # moved: nobody knows how much of it
    assert source.names[ImageFinder(source).find("photos/sub/a.jpg")] == "sub/a.jpg"
    assert source.names[ImageFinder(source).find("photos/a.jpg")] == "a.jpg"


class CountedName(str):
    """A name that counts how often it is compared."""

    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        CountedName.comparisons += 1
        return str.__eq__(self, other)

    def split(self, *args):
        CountedName.comparisons += 1
        return str.split(self, *args)


def test_many_alike_names_cost_a_few_looks_each():
    count = 2000
    source = source_of(*(CountedName(f"{number}/image.jpg") for number in range(count)))
    CountedName.comparisons = 0
    finder = ImageFinder(source)
    assert [finder.find(f"/old/{number}/image.jpg") for number in range(count)] == list(range(count))
    assert [finder.find(f"{number}\\image.jpg") for number in range(count)] == list(range(count))
    assert all(finder.find(f"x{number}/image.jpg") is None for number in range(count))
    assert CountedName.comparisons < 50 * count


@pytest.mark.parametrize("image_id", [785, 785.0, "785", "000785", "785.0", " 785 ", "0785.00"])
def test_a_number_written_otherwise(image_id):
    assert ImageNumbers(source_of("sub/000785.jpg", "other.jpg")).find(image_id) == "sub/000785.jpg"
    assert plain_id(image_id) == 785


def test_numbers_of_images_as_coco_named_them_in_2014():
    numbers = ImageNumbers(source_of("COCO_val2014_000000000785.jpg", "COCO_val2014_000000000786.jpg", "786.jpg"))
    assert numbers.find(785) == "COCO_val2014_000000000785.jpg" and numbers.find(786).here
    assert not ImageNumbers(source_of("IMG_785.jpg", "COCO_val2014_785.jpg")).find(785).here  # counted otherwise


@pytest.mark.parametrize("names", [("camA/07.jpg", "camB/07.jpg"), ("7.jpg", "7.png"), ("7.jpg", "007.jpg")])
def test_a_number_that_two_images_have_is_nobodys(names):
    for image_id in (7, "7", 7.0):
        why = ImageNumbers(source_of(*names, "8.jpg")).find(image_id)
        assert isinstance(why, NoImage) and why.here and f"could be {names[0]} or {names[1]}" in why.reason
    assert ImageNumbers(source_of(*names, "8.jpg")).find(8) == "8.jpg"


def test_numbers_and_texts_without_an_image():
    numbers = ImageNumbers(source_of("7.jpg", "007.jpg", "a.jpg", "b.jpg", "b.png"))
    assert numbers.find("007") == "007.jpg"  # only one is written so
    assert numbers.find("a") == "a.jpg" and numbers.find("b").here
    assert numbers.find("x/y.jpg") == "x/y.jpg"  # for the finder of names
    for image_id in (9, 2**70, -1, 10**30):
        assert isinstance(numbers.find(image_id), NoImage) and not numbers.find(image_id).here
    for image_id in ("9" * 5000, None, True, 7.5, float("nan"), [7], "1e3", "٧x"):
        assert isinstance(numbers.find(image_id), str)


def test_a_name_that_could_be_two_images_is_not_taken_for_one_that_is_not_there_yet():
    finder = ImageFinder(Pictures("/photos", Names.of(["x/a.jpg", "y/a.jpg"]), True))
    assert finder.why_not("a.jpg").error == "AmbiguousNameError"
    assert finder.why_not("z/b.jpg").error == "MissingImageError"
