import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.serving import RED, picture, wait_until
from support.studio import paint, studio_of

from retrain.errors import OutputError
from retrain.options import ImageOptions
from retrain.serving.studio.access import HEADER


@pytest.fixture
def client():
    with studio_of(paint("pictures")) as client:
        yield client


def test_the_page_and_its_files_come_from_here(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name in ("main.js", "board.js", "studio.css"):
        assert client.get(f"/page/{name}").headers["content-type"].startswith("text/")
    for name in ("studio.html", "..%2Fapp.py", "none.js"):
        assert client.get(f"/page/{name}").status_code in (404, 422)


def test_the_listing_and_the_figures(client):
    assert client.listing() == {name: [f"{name}{n}.png" for n in range(3)] for name in ("blue", "green", "red")}
    figures = client.get("/figures").json()
    assert figures["labels"] == ["blue", "green", "red"]
    assert len(figures["pictures"]["ids"]) == figures["headline"]["pictures"] == 9


def test_thumbnails_are_kept_by_the_browser(client):
    (number,) = client.numbers("red/red0.png")
    version = client.workbench.table.get(number).version
    answer = client.get(f"/thumbnail/{number}/{version}")
    assert Image.open(io.BytesIO(answer.content)).size == (12, 10)
    assert "immutable" in answer.headers["cache-control"]
    again = client.get(f"/thumbnail/{number}/{version}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/thumbnail/{number}/before").headers["cache-control"] == "no-cache"
    assert client.get(f"/preview/{number}/{version}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/thumbnail/999/x", "/thumbnail/x/x", "/secret/1/x", "/about/999", "/thumbnail/..%2F1/x"]
)
def test_pictures_have_no_other_addresses_than_numbers(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "error" in answer.json()


def test_every_edit_and_its_undo(client):
    one, two = client.numbers("red/red0.png", "red/red1.png")
    before = client.listing()
    for change in (
        {"kind": "move", "pictures": [one, two], "class": "new"},
        {"kind": "remove", "pictures": [two]},
        {"kind": "rename", "class": "red", "to": "scarlet"},
        {"kind": "merge", "classes": ["green", "blue"], "to": "blue"},
        {"kind": "remove_class", "class": "blue"},
    ):
        answer = client.edit(**change)
        assert answer.status_code == 200, answer.text
        assert answer.json()["undoable"] == answer.json()["done"]
        wait_until(lambda: client.listing() != before)
        done = answer.json()["done"]
        assert client.edit(kind="redo", number=done["number"]).status_code == 409  # there is nothing to do again
        assert (
            client.edit(kind="undo", number=done["number"] - 1).status_code == 409
        )  # another page's edit came after it
        assert client.edit(kind="undo", number=done["number"]).json()["redoable"] == done
        wait_until(lambda: {k: v for k, v in client.listing().items() if v} == before)
        assert client.edit(kind="redo").json()["done"] == client.edit(kind="undo").json()["done"]
    wait_until(lambda: {k: v for k, v in client.listing().items() if v} == before)
    client.edit(kind="new_class", **{"class": "empty"})
    wait_until(lambda: client.listing().get("empty") == [])


def test_pictures_keep_their_numbers_when_they_move(client):
    numbers = client.numbers("red/red0.png")
    client.edit(kind="move", pictures=numbers, **{"class": "blue"})
    wait_until(lambda: "red0.png" in client.listing()["blue"])
    assert client.numbers("blue/red0.png") == numbers


def test_pictures_are_added_and_what_is_none_is_left_out(client):
    files = [("picture", ("new.png", RED)), ("picture", ("notes.txt", b"text"))]
    answer = client.post("/pictures", params={"class": '"red"'}, files=files)
    assert answer.json()["refused"] == ["notes.txt: text, not a picture"]
    assert Path("pictures/red/new.png").read_bytes() == RED
    wait_until(lambda: "new.png" in client.listing()["red"])


def test_a_model_follows_and_tries_pictures(client):
    version = client.workbench.figures.version
    client.edit(kind="move", pictures=client.numbers("red/red0.png"), **{"class": "blue"})
    wait_until(lambda: client.workbench.figures.version > version and client.workbench.figures.content["looked"])
    figures = client.get("/figures").json()
    assert [(item["kind"], item["suggested"], item["group"]) for item in figures["queue"]] == [
        ("suspect", "red", "blue")
    ]
    answer = client.post("/classify", content=picture("#00ff00"))
    assert (answer.json()["label"], answer.json()["scores"][0]) == ("green", ["green", 0.9])


def test_the_model_is_saved_below_the_current_folder_only(client):
    answer = client.post("/save", json={"name": "models/one"})
    assert answer.json() == {"place": os.path.join(os.getcwd(), "models", "one")}
    assert client.model.saved == ["models/one"]
    os.symlink("/tmp", "link")
    for name in ("/tmp/model", "~/model", "../model", "..", ".", "", "link/model", "a/../../b", "\0"):
        answer = client.post("/save", json={"name": name})
        assert answer.status_code == 422, name
    assert client.model.saved == ["models/one"]


def test_what_was_looked_at_is_passed_until_it_is_not(client):
    numbers = client.numbers("red/red0.png")
    client.post("/passed", json={"pictures": numbers})
    assert client.workbench.hello()["passed"] == numbers
    client.post("/passed", json={"pictures": numbers, "passed": False})
    assert client.workbench.hello()["passed"] == []


# Refusals


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"kind": "destroy"},
        {"kind": "move", "class": "red"},
        {"kind": "move", "pictures": ["../x"], "class": "red"},
        {"kind": "move", "pictures": [1]},
        {"kind": "remove", "pictures": [True]},
        {"kind": "remove", "pictures": [1.5]},
        {"kind": "rename", "class": "", "to": "x"},
        {"kind": "rename", "class": "a", "to": "x" * 300},
        {"kind": "merge", "classes": [], "to": "x"},
        {"kind": "new_class", "class": "\ud800"},
    ],
)
def test_edits_that_make_no_sense(client, change):
    answer = client.post("/edits", content=json.dumps(change))
    assert answer.status_code == 422
    assert "expected" in answer.json()["error"]
    assert client.editor.undoable is None


@pytest.mark.parametrize("name", ["..", "../x", "/tmp/x", ".hidden", "a/b", "a\0b", " "])
def test_no_name_leads_out_of_the_folder(client, name):
    before = sorted(Path().rglob("*.png"))
    numbers = client.numbers("red/red0.png")
    answers = [
        client.edit(kind="move", pictures=numbers, **{"class": name}),
        client.edit(kind="new_class", **{"class": name}),
        client.edit(kind="rename", **{"class": "red", "to": name}),
        client.edit(kind="rename", **{"class": name, "to": "x"}),
        client.edit(kind="merge", classes=["red", "blue"], to=name),
        client.edit(kind="remove_class", **{"class": name}),
        client.post("/pictures", params={"class": json.dumps(name)}, files=[("picture", ("new.png", RED))]),
    ]
    assert {answer.status_code for answer in answers} <= {409, 422}
    assert sorted(Path().rglob("*.png")) == before


def test_names_of_added_files_lead_nowhere_else(client):
    names = ["../../evil.png", "/etc/evil.png", "..", ".png", "a\0b.png", "x" * 300 + ".png", "\u202egnp.png"]
    answer = client.post(
        "/pictures",
        params={"class": '"red"'},
        files=[("picture", (name, RED + bytes(place))) for place, name in enumerate(names)],
    )
    assert answer.json()["done"]["text"] == "Added 7 pictures to red"
    added = {*Path().rglob("*")} - {*Path("pictures").rglob("*")}
    assert added == {Path("pictures")}
    wait_until(lambda: len(client.listing()["red"]) == 3 + len(names))


def test_pictures_and_classes_that_vanished(client):
    numbers = client.numbers("red/red0.png", "red/red1.png")
    shutil.rmtree("pictures/red")
    answer = client.edit(kind="move", pictures=numbers, **{"class": "blue"})
    assert (answer.status_code, answer.json()["error"]) == (
        409,
        "red/red0.png is not there any more; it was moved or removed meanwhile",
    )
    wait_until(lambda: "red" not in client.listing())
    answer = client.edit(kind="move", pictures=[*numbers, *client.numbers("blue/blue0.png")], **{"class": "blue"})
    assert answer.status_code == 409
    assert answer.json()["error"].startswith("2 pictures are not there any more")


def test_a_full_disk_is_said_and_nothing_moves(client, monkeypatch):
    def fail(paths):
        raise OutputError(f"can't write into pictures: {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(client.editor, "remove", fail)
    before = client.listing()
    answer = client.edit(kind="remove", pictures=client.numbers("red/red0.png"))
    assert (answer.status_code, answer.json()["error"]) == (409, "can't write into pictures: No space left on device")
    assert client.listing() == before


def test_uploads_that_are_no_pictures_or_too_large(monkeypatch):
    with studio_of(paint("pictures"), images=ImageOptions(max_file_size=1)) as client:
        large = [("picture", ("large.png", RED + bytes(2**20)))]
        for files, status, what in (
            ([("picture", ("notes.txt", b"text"))], 415, "nothing was added: notes.txt: text, not a picture"),
            (large, 415, "nothing was added: large.png: larger than --max-file-size 1"),
        ):
            answer = client.post("/pictures", params={"class": '"red"'}, files=files)
            assert (answer.status_code, answer.json()["error"]) == (status, what)
        assert client.post("/pictures", params={"class": '"red"'}, content=RED).status_code == 415
        assert client.post("/pictures", params={"class": "red"}, files=large).status_code == 422
        monkeypatch.setattr("retrain.serving.studio.app._MOST_ADDED", 2**20)
        assert client.post("/pictures", params={"class": '"red"'}, files=large).status_code == 413
        assert client.post("/classify", content=bytes(2**20 + 1)).status_code == 413
        assert client.post("/classify", content=b"text").status_code == 415
        assert client.editor.undoable is None


def test_read_only_refuses_every_edit_but_shows_all():
    with studio_of(paint("pictures"), read_only=True) as client:
        numbers = client.numbers("red/red0.png")
        for change in (
            {"kind": "move", "pictures": numbers, "class": "blue"},
            {"kind": "remove", "pictures": numbers},
            {"kind": "new_class", "class": "x"},
            {"kind": "remove_class", "class": "red"},
            {"kind": "rename", "class": "red", "to": "x"},
            {"kind": "merge", "classes": ["red"], "to": "blue"},
            {"kind": "undo"},
            {"kind": "redo"},
        ):
            answer = client.post("/edits", json=change)
            assert answer.status_code == 403
            assert "--read-only" in answer.json()["error"]
        answer = client.post("/pictures", params={"class": '"red"'}, files=[("picture", ("new.png", RED))])
        assert answer.status_code == 403
        page = client.get("/").text
        assert "data-read-only" in page
        for id in ("undo", "redo", "move", "remove", "new-class", "files", "large-remove"):
            assert f'id="{id}"' not in page
        assert len(client.listing()["red"]) == 3


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a&b \"c' d",
    "\u202egnp.exe",
    os.fsdecode(b"caf\xe9"),
    "</script>",
    "%2e%2e",
    "a\nb",
]


def test_hostile_names_stay_names():
    root = paint("pictures")
    for place, name in enumerate(HOSTILE):
        shutil.copy(root / "red" / "red0.png", root / "blue" / f"{place} {name.replace('/', '_')}.png")
    with studio_of(root) as client:
        listed = client.listing()["blue"]
        assert len(listed) == 3 + len(HOSTILE)
        assert r"3 caf\xe9.png" in listed
        assert not any("\n" in name or "\u202e" in name for name in listed)
        for number in client.workbench.table.numbers().values():
            assert client.get(f"/thumbnail/{number}/x").status_code == 200
        ids = client.numbers(*[path for path in client.workbench.table.numbers() if path.startswith("blue/")])
        assert client.edit(kind="move", pictures=ids, **{"class": "green"}).status_code == 200
        wait_until(lambda: len(client.listing()["green"]) == 6 + len(HOSTILE))


def test_the_name_of_the_folder_can_do_nothing():
    root = paint("<script>alert(1)")
    with studio_of(root) as client:
        object.__setattr__(client.studio, "name", root.name)
        assert "<script>alert" not in client.get("/").text


def test_class_names_that_are_not_utf8_are_shown_and_can_be_renamed():
    root = paint("pictures")
    name = os.fsdecode(b"caf\xe9")
    os.rename(root / "red", root / name)
    with studio_of(root) as client:
        listing = client.get("/listing").json()
        assert name in listing["classes"]
        assert "not UTF-8" in listing["problem"]
        answer = client.post("/edits", content=b'{"kind": "rename", "class": "caf\\udce9", "to": "cafe"}')
        assert answer.status_code == 200
        wait_until(lambda: "cafe" in client.listing())


@pytest.mark.parametrize(("classes", "problem"), [((), None), (("red",), None)])
def test_a_folder_that_can_not_be_trained_is_shown(classes, problem):
    Path("pictures").mkdir(exist_ok=True)
    shutil.rmtree("pictures")
    paint("pictures", classes) if classes else Path("pictures").mkdir()
    with studio_of("pictures") as client:
        assert [*client.listing()] == [*classes]
        assert client.get("/figures").json()["problem"]
        client.post("/pictures", params={"class": '"green"'}, files=[("picture", ("new.png", RED))])
        wait_until(lambda: client.listing().get("green") == ["new.png"])


def test_what_nobody_foresaw_is_shown_and_the_studio_goes_on(client, caplog):
    client.model.error = ZeroDivisionError("division by zero")
    client.edit(kind="move", pictures=client.numbers("red/red0.png"), **{"class": "blue"})
    wait_until(lambda: client.workbench.hello()["state"]["problem"])
    assert "this is an error of the studio: division by zero" in client.workbench.hello()["state"]["problem"]
    assert "ZeroDivisionError" in caplog.text
    client.model.error = None
    client.edit(kind="undo")
    wait_until(lambda: client.workbench.hello()["state"]["problem"] is None)


def test_requests_without_the_header_change_nothing(client):
    for path in ("/edits", "/pictures", "/save", "/passed", "/classify"):
        answer = client.request("POST", path, content=b"{}", headers={HEADER: ""})
        assert answer.status_code != 403  # it is there, if empty
    del client._http.headers[HEADER]
    for path in ("/edits", "/pictures", "/save", "/passed", "/classify"):
        answer = client.post(path, json={"kind": "undo"})
        assert (answer.status_code, HEADER in answer.json()["error"]) == (403, True)
