from pathlib import Path

import pytest
from support.command import one_line_error, retrain
from support.studio import paint

from retrain.cli.serve import serving_packages
from retrain.errors import MissingPackageError


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the following arguments are required: IMAGE_DIR"),
        (["pictures", "--host", "0.0.0.0"], 2, "--host 0.0.0.0: the studio changes files, so it listens on loopback"),
        (["pictures", "--port", "70000"], 2, "--port 70000: must be between 0 and 65,535"),
        (["pictures", "--undo", "--read-only"], 2, "--undo changes the folder, and --read-only forbids it"),
        (["nothing"], 1, "no such folder: nothing"),
        (["pictures", "--unlabelled", "nothing"], 1, "no such folder: nothing"),
        (
            ["pictures", "--unlabelled", "pictures/red"],
            2,
            "--unlabelled pictures/red and the image folder pictures lie in one",
        ),
        (["pictures", "--unlabelled", "."], 2, "--unlabelled . and the image folder pictures lie in one another"),
    ],
)
def test_what_can_not_be_is_said_in_one_line(arguments, code, message):
    paint("pictures", count=1)
    done = retrain("studio", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    one_line_error(done)


def test_a_missing_package_is_named():
    with (
        pytest.raises(
            MissingPackageError, match=r"the studio needs the package fastapi, .*: pip install 'retrain\[studio\]'"
        ),
        serving_packages("the studio", "studio"),
    ):
        raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")
    with pytest.raises(ModuleNotFoundError, match="other"), serving_packages("the studio", "studio"):
        raise ModuleNotFoundError("other", name="other")


def test_the_last_edit_is_taken_back_without_a_server():
    from retrain.data import FolderEdits

    root = paint("pictures", count=1)
    assert retrain("studio", root, "--undo", check=0).stdout == "There is nothing to take back\n"
    edits = FolderEdits(root)
    edits.move(["red/red0.png"], "blue")
    edits.close()
    assert retrain("studio", root, "--undo", check=0).stdout.startswith("Took back: Moved 1 picture")
    assert Path("pictures/red/red0.png").exists()
