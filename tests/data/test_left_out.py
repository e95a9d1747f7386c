"""What a run says of files that it could not use."""

from pathlib import Path

from retrain.data.labelled_pictures import LabelledPictures, Sample
from retrain.data.left_out import LeftOut, summarize_left_out


def folder_of(**files):
    names = tuple(files)
    samples = [Sample(f"{name}/{n}", label, name) for label, name in enumerate(names) for n in range(files[name])]
    return LabelledPictures(Path("root"), names, tuple(samples))


def test_losses_are_counted_by_reason_and_class():
    folder = folder_of(cat=30, dog=20, owl=10)
    skipped = {f"cat/{n}": f"damaged picture: {n} bytes not processed" for n in range(3)}
    skipped |= {f"dog/{n}": "a Git LFS pointer: run git lfs pull" for n in range(5)} | {"dog/9": "the file is empty"}
    found = summarize_left_out(folder, skipped)
    assert found.as_dict() == {
        "files": 60,
        "left_out": 9,
        "reasons": {
            "a Git LFS pointer: run git lfs pull": 5,
            "damaged picture: 0 bytes not processed": 3,  # one kind, whatever the number
            "the file is empty": 1,
        },
        "classes": [
            {"name": "dog", "files": 20, "left_out": 6, "reason": "a Git LFS pointer: run git lfs pull"},
            {"name": "cat", "files": 30, "left_out": 3, "reason": "damaged picture: 0 bytes not processed"},
        ],
    }
    assert found.told() == (
        "9 of 60 files (5 x a Git LFS pointer: run git lfs pull, 3 x damaged picture: 0 bytes not processed, "
        "1 x the file is empty); by class: dog 6 of 20, cat 3 of 30"
    )
    # a tenth of the cats is no more than a tenth
    assert found.warning() == (
        "more than a tenth of the files of a class can't be used: "
        "dog (6 of 20, mostly: a Git LFS pointer: run git lfs pull)"
    )


def test_nothing_lost_is_nothing_said():
    found = summarize_left_out(folder_of(cat=3), {})
    assert found == LeftOut(3)
    assert found.warning() is None


def test_many_classes_are_not_all_named():
    names = {f"class {number:03}": 2 for number in range(400)}
    found = summarize_left_out(folder_of(**names), {f"{name}/1": "the file is empty" for name in names})
    warning = found.warning()
    assert warning.startswith("more than a tenth of the files of 400 classes can't be used: class 000 (1 of 2, mostly:")
    assert warning.endswith("and 390 more")
    assert found.told().startswith("400 of 800 files (the file is empty); by class: class 000 1 of 2, ")
    assert len(found.told()) < 400


def test_names_are_escaped():
    found = summarize_left_out(folder_of(**{"a\x1b[2J": 1}), {"a\x1b[2J/0": "odd \x07"})
    assert r"a\x1b[2J 1 of 1" in found.told()
    assert r"odd \x07" in found.told()
    assert r"a\x1b[2J (1 of 1, mostly: odd \x07)" in found.warning()
