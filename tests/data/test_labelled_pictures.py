"""Pictures of no class are taken apart from those of classes."""

from pathlib import Path

import pytest

from retrain.data.labelled_pictures import LabelledPictures, Sample
from retrain.errors import UsageError


def test_several_labels_and_a_label_for_none_are_refused():
    samples = tuple(
        Sample(f"{number}.png", label, name, labels=(label,))
        for number, (label, name) in enumerate([(0, "_none_"), (1, "a")])
    )
    folder = LabelledPictures(Path("there"), ("_none_", "a"), samples)
    with pytest.raises(
        UsageError, match="there has the label _none_, and with --multi-label a picture of no class has no"
    ):
        folder.without_strangers()


def test_pictures_of_no_class_are_taken_apart():
    names = ("Ä", "_none_", "b")
    samples = tuple(Sample(f"{number}.png", number % 3, names[number % 3]) for number in range(7))
    folder, strangers = LabelledPictures(Path("there"), names, samples).without_strangers()
    assert folder.class_names == ("Ä", "b")
    assert [(one.path, folder.class_names[one.label], one.class_name) for one in folder.samples] == [
        (f"{number}.png", names[number % 3], names[number % 3]) for number in (0, 2, 3, 5, 6)
    ]
    assert [one.path for one in strangers.samples] == ["1.png", "4.png"]
    assert (folder.is_part, strangers.is_part) == (True, True)  # so that no other part of the index is dropped
    assert folder.without_strangers() == (folder, None)
