import hashlib
import os
import socket

import pytest

from retrain.data.picture_file import hash_picture, picture_bytes, read_picture
from retrain.errors import UnreadableImageError


def test_a_file_is_read_whole(tmp_path):
    for content in (b"", b"x", os.urandom(3_000_000)):
        (tmp_path / "a").write_bytes(content)
        assert read_picture(tmp_path / "a") == content
        assert hash_picture(tmp_path / "a") == hashlib.sha256(content).digest()


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert read_picture(tmp_path / "b") == b"x"


@pytest.mark.parametrize("read", [read_picture, hash_picture])
def test_only_regular_files_are_opened(tmp_path, monkeypatch, read):
    os.mkfifo("fifo")
    os.symlink("/dev/zero", "endless")
    os.mkdir("folder")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name, kind in (
            ("fifo", "a named pipe"),
            ("endless", "a device"),
            ("folder", "a folder"),
            ("socket", "a socket"),
        ):
            with pytest.raises(UnreadableImageError, match=f"{kind}, not a file"):
                read(name)


def test_what_can_not_be_opened_says_why():
    with pytest.raises(UnreadableImageError, match="can't be read: No such file or directory"):
        read_picture("nowhere")


def test_a_file_is_no_larger_than_allowed(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(30 * 2**30)
    with pytest.raises(UnreadableImageError, match="30,720 MiB: larger than --max-file-size 1024"):
        read_picture(tmp_path / "large")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2 * 2**20 + 1)
    with pytest.raises(UnreadableImageError, match="3 MiB: larger than --max-file-size 2"):
        read_picture(tmp_path / "large", 2)
    assert len(read_picture(tmp_path / "large", 3)) == 2 * 2**20 + 1


def test_a_file_that_says_it_is_empty_is_read_as_far_as_allowed():
    with picture_bytes("/proc/self/status") as data:
        assert data.startswith(b"Name:")
