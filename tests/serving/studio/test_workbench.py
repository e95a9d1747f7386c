import dataclasses
import os
import threading

import pytest
from support.serving import wait_until
from support.studio import paint, studio_of

from retrain.errors import CacheError
from retrain.serving.studio import workbench


@pytest.fixture
def client():
    with studio_of(paint("pictures", count=1)) as client:
        wait_until(lambda: client.workbench.figures.content["looked"])
        yield client


def told(client, monkeypatch):
    """What the stream is told from now on: kind and content."""
    events = []
    publish = client.studio.stream.publish
    monkeypatch.setattr(client.studio.stream, "publish", lambda *event: (events.append(event), publish(*event)))
    return events


def test_an_edit_is_told_with_the_listing_before_it_is_answered(client, monkeypatch):
    events = told(client, monkeypatch)
    answer = client.edit(kind="remove", pictures=client.numbers("red/red0.png")).json()
    kinds = [kind for kind, _ in events]
    assert kinds.index("listing") < kinds.index("edits")
    assert dict(events)["listing"]["gone"]
    assert dict(events)["edits"] == answer


def test_a_closer_look_gives_way_to_a_change(client):
    began, looked = threading.Event(), client.model.look_closer

    def look():
        began.set()
        wait_until(client.model._is_unwanted)
        client.model.look_closer = looked
        raise RuntimeError("stopped")

    client.model.look_closer = look
    client.edit(kind="new_class", **{"class": "x"})
    assert began.wait(20)
    updates = client.model.updates
    client.edit(kind="new_class", **{"class": "y"})
    wait_until(lambda: client.model.updates > updates and client.workbench.figures.content["looked"])
    assert client.workbench.hello()["state"]["problem"] is None


def test_an_error_of_training_is_shown_until_it_is_solved(client, monkeypatch):
    monkeypatch.setattr(workbench, "_PROBLEM_SECONDS", 0.01)
    client.model.error = CacheError("the cache is full")
    client.edit(kind="new_class", **{"class": "x"})
    wait_until(lambda: client.workbench.hello()["state"]["problem"] == "the cache is full")
    client.model.error = None  # nothing of the folder changes
    wait_until(lambda: client.workbench.hello()["state"]["problem"] is None)


def test_files_that_are_still_written_are_looked_at_again(client, monkeypatch):
    monkeypatch.setattr(workbench, "_AGAIN_SECONDS", 0.01)
    update, rounds = client.model.update, []

    def waiting():
        rounds.append(1)
        return dataclasses.replace(update(), waiting=("red/new.png",) if len(rounds) < 3 else ())

    client.model.update = waiting
    client.edit(kind="new_class", **{"class": "x"})
    wait_until(lambda: len(rounds) == 3)


def test_a_folder_that_vanished_is_a_problem_that_is_said(client):
    os.rename("pictures", "gone")
    client.workbench.look(5)
    assert "can't read the folder pictures" in client.workbench.hello()["state"]["problem"]
    os.rename("gone", "pictures")
    client.workbench.look(5)
    wait_until(lambda: client.workbench.hello()["state"]["problem"] is None)
