import asyncio
import json
import threading

from support.serving import run

from retrain.serving.studio import events
from retrain.serving.studio.events import EventStream


async def read(stream, count):
    """The first events of a stream: kind and content."""
    found = []
    async for text in stream:
        lines = dict(line.partition(": ")[::2] for line in text.strip().splitlines() if not line.startswith(":"))
        found.append((lines.get("event"), json.loads(lines["data"])) if "data" in lines else None)
        if len(found) == count:
            break
    return found


def test_all_pages_hear_what_any_thread_tells():
    async def work():
        stream = EventStream()
        stream.publish("nobody", "hears this")
        pages = [asyncio.create_task(read(stream.listen(lambda: "hello"), 3)) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in range(2):
            threading.Thread(target=stream.publish, args=("told", {"number": number})).start()
        return await asyncio.gather(*pages)

    for page in run(work()):
        assert page[0] == ("hello", "hello")
        assert sorted(content["number"] for _, content in page[1:]) == [0, 1]


def test_the_end_ends_all_streams():
    async def work():
        stream = EventStream()
        page = asyncio.create_task(read(stream.listen(lambda: 0), 9))
        await asyncio.sleep(0.01)
        stream.end()
        assert await page == [("hello", 0)]
        return await read(stream.listen(lambda: 1), 9)  # one that comes later

    assert run(work()) == [("hello", 1)]


def test_a_page_that_reads_nothing_is_cut_off(monkeypatch):
    monkeypatch.setattr(events, "_MOST_WAITING", 3)

    async def work():
        stream = EventStream()
        page = stream.listen(lambda: 0)
        assert await anext(page)
        for number in range(9):
            stream.publish("told", number)
        await asyncio.sleep(0.01)
        return [text async for text in page]

    assert [text.split("data: ")[1].strip() for text in run(work())] == ["0", "1", "2"]


def test_a_quiet_stream_shows_signs_of_life(monkeypatch):
    monkeypatch.setattr(events, "_BEAT_SECONDS", 0.01)
    assert run(read(EventStream().listen(lambda: 0), 2)) == [("hello", 0), None]
