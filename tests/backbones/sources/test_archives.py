"""Archives that are cut off, damaged, too large or hostile."""

import bz2
import contextlib
import gzip
import io
import lzma
import random
import shutil
import tarfile
import tracemalloc

import pytest

from retrain.backbones.sources.archives import ArchiveLimits, unpack
from retrain.errors import BackboneError

FILES = {"saved_model.pb": b"a graph" * 100, "variables/variables.index": b"i" * 1000, "variables/data": b"d" * 5000}


def tar(members=FILES, end=True):
    """A tar archive of names with their bytes, or of TarInfo with theirs."""
    with io.BytesIO() as stream:
        archive = tarfile.open(fileobj=stream, mode="w:")  # noqa: SIM115 - closed where its end is to be written
        for name, data in members.items() if isinstance(members, dict) else members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if end:
            archive.close()
        return stream.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


PACKERS = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.fixture
def take(tmp_path):
    """Unpacks bytes: to a dictionary of names and contents."""

    def run(data, limits=ArchiveLimits()):
        (tmp_path / "archive").write_bytes(data)
        folder = tmp_path / "unpacked"
        shutil.rmtree(folder, ignore_errors=True)
        unpack(tmp_path / "archive", folder, limits)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return run


def refused(take, data, match, limits=ArchiveLimits()):
    with pytest.raises(BackboneError, match=match):
        take(data, limits)


@pytest.mark.parametrize("packer", PACKERS)
def test_archives_of_all_kinds_are_unpacked(packer, take):
    assert take(PACKERS[packer](tar())) == FILES


def test_modes_owners_and_ways_of_writing_a_name_do_not_matter(take, tmp_path):
    loose = tarfile.TarInfo("./a//b/./c")
    loose.mode, loose.uid = 0o7777, 12345
    absolute = tarfile.TarInfo("/d")
    absolute.mode = 0
    folder = special("./", tarfile.DIRTYPE)
    assert take(tar([(folder, b""), (loose, b"1"), (absolute, b"2")])) == {"a/b/c": b"1", "d": b"2"}
    for path in (tmp_path / "unpacked").rglob("*"):
        assert path.stat().st_mode & 0o7022 == 0


@pytest.mark.parametrize("packer", PACKERS)
def test_an_archive_is_whole_at_its_end_alone(packer, take, tmp_path):
    """Cut off at any of many places, also between two files."""
    whole = PACKERS[packer](tar())
    data = tar()
    cuts = {*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1}
    if packer == "plain":
        end = 512 * 3 + 1024 + 1024 + 5120
        assert data[end:] == bytes(len(data) - end)
        cuts = {cut for cut in (*cuts, 512 + 1024, end) if cut <= end}  # from there on nothing is missing but zeros
    for number, cut in enumerate(sorted(cuts)):
        with pytest.raises(BackboneError, match=r"cut off|damaged|not a tar archive"):
            (tmp_path / "archive").write_bytes(whole[:cut])
            unpack(tmp_path / "archive", tmp_path / str(number))


def test_a_compressed_archive_without_tars_end_is_not_whole(take):
    refused(take, gzip.compress(tar(end=False)[: 512 + 1024]), "the mark of its end is missing")


@pytest.mark.parametrize("place", ["checksum", "length", "middle"])
def test_a_damaged_archive_is_refused(place, take):
    data = bytearray(gzip.compress(tar({"a": bytes(range(256)) * 100})))
    data[{"checksum": -6, "length": -2, "middle": len(data) // 2}[place]] ^= 255
    refused(take, bytes(data), r"cut off|damaged|no tar")


def test_mutations_are_unpacked_or_refused_and_nothing_else(tmp_path):
    plain = tar()
    for number in range(100):
        rng = random.Random(number)
        data = bytearray(plain)
        for _ in range(rng.choice((1, 1, 1, 4))):
            data[rng.randrange(3000)] = rng.randrange(256)
        (tmp_path / "archive").write_bytes(data)
        folder = tmp_path / f"{number}"
        with contextlib.suppress(BackboneError):
            unpack(tmp_path / "archive", folder)
    assert {path.name for path in tmp_path.iterdir()} == {"archive", *map(str, range(100))}


def test_a_bomb_is_refused_before_the_disk_is_full(take, tmp_path):
    bomb = gzip.compress(tar({"zeros": bytes(2**21)}))
    limits = ArchiveLimits(ratio_from_bytes=2**16)
    refused(take, bomb, r"it unpacks to more than \d", limits)
    written = sum(path.stat().st_size for path in (tmp_path / "unpacked").rglob("*"))
    assert written <= max(2**16, limits.ratio * len(bomb))


def test_zeros_behind_the_end_count_too(take):
    refused(take, gzip.compress(tar() + bytes(2**21)), "unpacks to more", ArchiveLimits(ratio_from_bytes=2**16))


def test_the_whole_is_bounded_too(take):
    refused(take, tar(), "unpacks to more than 4,000", ArchiveLimits(total_bytes=4000))


def test_many_files_are_refused(take):
    refused(take, tar({f"{n}": b"" for n in range(30)}), "more than 20 files", ArchiveLimits(members=20))


def test_a_name_that_fills_the_memory_is_refused(take):
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 2**33
    tracemalloc.start()
    refused(take, header.tobuf() + bytes(2**16), "memory|damaged|cut off")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/../evil", "..", "a/.."])
def test_names_that_lead_out_are_refused(name, take, tmp_path):
    refused(take, tar({name: b"x"}), "leads out of its folder")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc"),
        (tarfile.SYMTYPE, "saved_model.pb"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
    ],
)
def test_links_and_devices_are_refused(kind, target, take, tmp_path):
    data = tar([("saved_model.pb", b"x"), (special("thing", kind, target), b"")])
    refused(take, data, "'thing' in it is neither a file nor a folder|damaged")
    assert not (tmp_path / "unpacked" / "thing").is_symlink()


def test_a_sparse_file_in_newer_form_is_refused(take):
    info = tarfile.TarInfo("sparse")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1,99999999999,1"}
    info.pax_headers["GNU.sparse.size"] = "100000000000"
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w:", format=tarfile.PAX_FORMAT) as archive:
            info.size = 2
            archive.addfile(info, io.BytesIO(b"ab"))
        refused(take, stream.getvalue(), "neither a file nor a folder|damaged")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_two_things_of_one_name_are_refused(names, take):
    refused(take, tar([(name, b"x") for name in names]), "twice|with the same name")


@pytest.mark.parametrize("name", ["x" * 1001, "a/" * 600 + "b"])
def test_a_name_that_is_too_long_is_refused(name, take):
    refused(take, tar({name: b"x"}), "a name that is too long")


def test_what_is_no_archive_is_refused(take):
    for data in (b"", b"<html>please log in</html>", b"\x1f\x8b\x08 and so on", bytes(range(256)) * 8):
        refused(take, data, r"not a tar archive|damaged|cut off")
