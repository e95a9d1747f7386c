import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.errors import UsageError
from retrain.options import Shard

PATHS = [f"cat/{number}.jpg" for number in range(1000)]


@given(st.integers(1, 40), st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_each_path_belongs_to_one_part(count, paths):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    assert all(sum(shard.has(path) for shard in shards) == 1 for path in paths)


def test_parts_are_about_equal_and_the_same_on_every_machine():
    sizes = [sum(map(Shard(number, 7).has, PATHS)) for number in range(1, 8)]
    assert max(sizes) < 1.3 * min(sizes)
    # the first eight bytes of SHA-256, big-endian, modulo 7: as any other program can compute it
    digests = [hashlib.sha256(path.encode()).hexdigest() for path in PATHS]
    assert [int(digest[:16], 16) % 7 == 2 for digest in digests] == [*map(Shard(3, 7).has, PATHS)]


def test_a_name_that_is_not_utf_8_has_its_place():
    assert sum(Shard(number, 3).has("cat/\udcff.jpg") for number in (1, 2, 3)) == 1


@pytest.mark.parametrize("text", ["3", "3/", "/16", "3/16/2", "a/b", "-1/4", "3 of 16", "", "¹/²"])
def test_what_names_no_part_is_refused(text):
    with pytest.raises(UsageError, match=r"--shard .*: expected I/N, part I of N: --shard 3/16"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0"])
def test_a_part_that_there_is_not_is_refused(text):
    with pytest.raises(UsageError, match=r"parts are numbered from 1 on"):
        Shard.parse(text)


def test_a_part_is_written_as_it_is_read():
    assert str(Shard.parse("3/16")) == "3/16"
