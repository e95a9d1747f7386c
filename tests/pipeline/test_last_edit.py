import contextlib

from retrain.data import FolderEdits
from retrain.events import Warned
from retrain.pipeline.last_edit import take_back_last_edit


def test_the_last_edit_is_taken_back_also_if_it_was_cut_off(make_folder, monkeypatch):
    root, heard = make_folder({"cat": 2, "dog": 2}), []
    assert take_back_last_edit(root, emit=heard.append) is None
    with contextlib.closing(FolderEdits(root)) as edits:
        edits.move(["cat/cat_000.png"], "owl")
        monkeypatch.setattr(edits._journal, "end", lambda: None)  # as if the process ended here
        edits.move(["cat/cat_001.png"], "owl")
    assert take_back_last_edit(root, emit=heard.append).text == "Moved 1 picture from cat to owl"
    assert [type(event) for event in heard] == [Warned]
    assert (root / "cat" / "cat_001.png").exists()
    take_back_last_edit(root)
    assert not (root / "owl").exists()
    assert (root / "cat" / "cat_000.png").exists()
