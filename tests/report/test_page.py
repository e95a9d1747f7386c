import base64
import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image
from support.reports import FLOWERS, HOSTILE, draw_thumbnail, make_comparison, make_quick_report, make_report

from retrain.report import page
from retrain.report.contents import Absent, Confusion, Gallery
from retrain.report.page import MOST_BYTES, render_comparison, render_report
from retrain.text import shown

NO_CELLS = Confusion("test", 2, ("cat", "dog"), (1, 1), (), True, ())
PAGES = {
    "full": lambda: render_report(make_report()),
    "quick": lambda: render_report(make_quick_report()),
    "two classes": lambda: render_report(make_report(("cat", "dog"))),
    "hostile": lambda: render_report(make_report(HOSTILE)),
    "fifty classes": lambda: render_report(make_report(tuple(f"class {n}" for n in range(50)))),
    "many classes": lambda: render_report(make_report(tuple(f"class {n}" for n in range(60)))),
    "no mistakes": lambda: render_report(replace(make_report(), confusion=replace(NO_CELLS, shows_matrix=False))),
    "comparison": lambda: render_comparison(make_comparison()),
    "hostile comparison": lambda: render_comparison(make_comparison(HOSTILE[:3])),
}


class Reader(HTMLParser):
    """Collects what a browser would find."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.within = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, attribute):
        return [found[attribute] for _, found in self.tags if attribute in found]


def read(html):
    return Reader(html.decode())


@pytest.mark.parametrize("name", PAGES)
def test_the_page_asks_for_nothing_and_refers_to_what_it_has(monkeypatch, name):
    if name == "many classes":
        monkeypatch.setattr(page, "_MOST_IN_CELLS", 50)  # a link to any other cell would lead nowhere
    found = read(PAGES[name]())
    ids = found.all("id")
    assert len(ids) == len(set(ids))
    for link in found.all("href"):
        assert link.startswith("data:") or link.removeprefix("#") in ids
    assert found.all("src") == found.all("style") == []
    assert [name for _, attributes in found.tags for name in attributes if name.startswith("on")] == []


@pytest.mark.parametrize("name", ["full", "comparison"])
def test_the_policy_names_the_script_and_the_style_and_nothing_else(name):
    html = PAGES[name]().decode()
    (policy,) = (found["content"] for tag, found in read(html.encode()).tags if "http-equiv" in found)
    digests = [
        base64.b64encode(hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)[1].encode()).digest())
        for tag in ("style", "script")
    ]
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digests[0].decode()}'",
        f"script-src 'sha256-{digests[1].decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_hostile_names_are_text():
    names = [name for name in HOSTILE if "\n" not in name]  # which has a remark of its own
    hostile, tame = (read(render_report(make_report(labels))) for labels in (names, [f"c{n}" for n in range(9)]))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in tame.tags]
    text = "".join(read(render_report(make_report(HOSTILE))).text)
    for name in HOSTILE:
        assert (
            shown(os.fsencode(name).decode("utf-8", "backslashreplace")) if "half" not in name else "half \\ud83d"
        ) in text


def test_sentences_are_text():
    report = make_report()
    effort = replace(report.headline.effort, made="<b>1</b>\u202e{{ 2 }}")
    headline = replace(report.headline, sentence="<b>3</b>\u202e{{ 4 }}", effort=effort)
    html = render_report(replace(report, headline=headline))
    assert b"&lt;b&gt;1&lt;/b&gt;\\u202e{{ 2 }}" in html
    assert b"&lt;b&gt;3&lt;/b&gt;\\u202e{{ 4 }}" in html


def test_a_matrix_has_a_cell_for_each_pair_and_links_to_pictures():
    found = read(render_report(make_report()))
    links = [link for link in found.all("href") if link.startswith("#cell-")]
    assert len(links) == len(set(links)) == 10  # five right, five wrong
    assert "#cell-3-4" in links


def test_many_classes_are_shown_as_pairs():
    html = PAGES["many classes"]().decode()
    assert 'class="matrix' not in html
    assert "The pairs that are confused most, of 60 classes (test set, 1,200 pictures)." in html


@pytest.mark.parametrize("shows_matrix", [True, False])
def test_nothing_wrong_is_said(shows_matrix):
    html = render_report(replace(make_report(), confusion=replace(NO_CELLS, shows_matrix=shows_matrix))).decode()
    assert ("No picture of the test set got a wrong label." in html) is not shows_matrix


def test_the_quick_report_says_what_the_full_one_adds():
    html = render_report(make_quick_report()).decode()
    listed = re.search(r"and adds:</p>\s*<ul>(.*?)</ul>", html)[1]
    assert re.findall("<li>(.*?)</li>", listed) == [*page._TITLES.values(), "Labels that may be wrong", "Outliers"]
    assert html.count("<pre") == 3  # where it is said once how; for cross-validation; how to repeat the run
    assert "This is the quick report" not in render_report(make_report()).decode()


def test_what_another_command_adds_is_not_promised_of_the_full_report():
    report = replace(make_quick_report(), learning=Absent("Too few.", "", "retrain crossval flowers"))
    html = render_report(report).decode()
    assert "<li>Would more pictures help?</li>" not in html
    assert '<pre class="command">retrain crossval flowers</pre>' in html


def jpeg_of(size):
    """A picture of so many bytes, most of them after its end."""
    return draw_thumbnail(0) + os.urandom(size - len(draw_thumbnail(0)))


def test_each_picture_is_in_the_page_once():
    report = make_report()
    html = render_report(report)
    for number in range(3):
        assert html.count(base64.b64encode(report.pictures[number].thumbnail)) == 2  # 24 pictures, 12 thumbnails


@pytest.mark.parametrize(
    ("size", "place"), [((160, 80), "0 40 160 80"), ((80, 160), "40 0 80 160"), ((20, 20), "0 0 160 160")]
)
def test_a_heat_map_is_stretched_over_its_picture(size, place):
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG")
    report = make_report()
    flat = (replace(report.pictures[0], thumbnail=buffer.getvalue()), *report.pictures[1:])
    tags = read(render_report(replace(report, pictures=flat))).tags
    index = next(number for number, (_, found) in enumerate(tags) if found.get("id") == "h0")
    found = tags[index + 1][1]
    assert " ".join(f"{float(found[name]):g}" for name in ("x", "y", "width", "height")) == place
    assert found["preserveaspectratio"] == "none"


def test_the_page_stays_below_ten_megabytes():
    report = make_report()
    many = tuple(replace(report.pictures[0], thumbnail=jpeg_of(40_000)) for _ in range(400))
    html = render_report(replace(report, pictures=many))
    assert MOST_BYTES * 0.9 < len(html) <= MOST_BYTES
    kept = set(re.findall(r'symbol id="p(\d+)"', html.decode()))
    galleries = {str(number) for gallery in report.galleries for number in gallery.pictures}
    assert galleries <= kept
    assert len(kept) < 400


def test_pictures_that_find_no_room_are_named(monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 1_000_000)
    report = make_report()
    large = tuple(replace(picture, thumbnail=jpeg_of(200_000)) for picture in report.pictures)
    html = render_report(replace(report, pictures=large)).decode()
    assert len(html) <= 1_000_000
    assert "not shown</text>" in html
    assert all(large[number].path in html for gallery in report.galleries for number in gallery.pictures)


def lists(html):
    return {found["download"]: found["href"] for _, found in read(html).tags if "download" in found}


def of_link(link):
    return base64.b64decode(link.partition("base64,")[2])


def with_paths(paths):
    return replace(
        make_report(), galleries=(Gallery("mistakes", "Mistakes", "", (), len(paths), tuple(paths)),), findings=()
    )


def test_a_list_has_the_paths_as_they_are():
    paths = ("a b/c'd.jpg", "caf\udce9/\x1b[31m.jpg", "<b>\u202e.jpg")
    found = lists(render_report(with_paths(paths)))
    assert of_link(found["mistakes.txt"]) == b"a b/c'd.jpg\ncaf\xe9/\x1b[31m.jpg\n<b>\xe2\x80\xae.jpg\n"


def test_names_with_line_breaks_end_with_a_null_character():
    html = render_report(with_paths(("one\ntwo.jpg", "three.jpg")))
    assert of_link(lists(html)["mistakes.txt"]) == b"one\ntwo.jpg\0three.jpg\0"
    assert b"xargs -0" in html


def test_a_long_list_is_compressed():
    paths = [f"roses/{n:08}.jpg" for n in range(20_000)]
    link = lists(render_report(with_paths(paths)))["mistakes.txt.gz"]
    assert gzip.decompress(of_link(link)).decode().split() == paths
    assert len(link) < 200_000


def test_a_list_without_room_is_not_offered(monkeypatch):
    monkeypatch.setattr(page, "_MOST_LIST_BYTES", 100)
    html = render_report(with_paths([f"roses/{n:08}.jpg" for n in range(20)]))
    assert lists(html) == {}
    assert b"The list of 20 paths is too long for this page." in html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1 min 0 s"), (192.4, "3 min 12 s"), (7500, "2 h 5 min")],
)
def test_times_are_for_people(seconds, text):
    report = make_report()
    effort = replace(report.headline.effort, pass_one_seconds=seconds)
    html = render_report(replace(report, headline=replace(report.headline, effort=effort))).decode()
    assert f"<dd>{text} for pass one" in html


def test_the_same_report_gives_the_same_page():
    assert render_report(make_report(FLOWERS)) == render_report(make_report(FLOWERS))


def test_the_page_needs_no_plotting_library_and_no_arrays():
    code = (
        "import retrain.report.page, retrain.report.page_charts, sys\n"
        "print([name for name in ('matplotlib', 'numpy', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sparse_reports_are_whole():
    """One test picture per class, no validation pictures, a class with one picture, nothing found."""
    report = make_report(("cat", "dog"), per_class=1)
    series = report.curves.stretches[0].series[0]
    sparse = replace(
        report,
        curves=replace(report.curves, stretches=(replace(report.curves.stretches[0], series=(series,)),)),
        classes=tuple(
            replace(row, validation=0, test=1, precision=None, recall=None, f1=None) for row in report.classes
        ),
        calibration=replace(report.calibration, bins=report.calibration.bins[:1], before=None, error_before=None),
        thresholds=replace(report.thresholds, suggested=None, n=1, answered=(1,) * 20 + (0,), right=(0,) * 21),
        findings=tuple(replace(one, groups=(), total=0, paths=()) for one in report.findings[:3]),
        galleries=report.galleries[2:],
        pictures=tuple(replace(picture, thumbnail=None, heat_map=None, neighbours=()) for picture in report.pictures),
    )
    text = "".join(read(render_report(sparse)).text).partition("How good is it?")[2]
    assert re.findall(r"\bNone\b|\bnan\b|\b1 pictures|\b0 picture\b", text) == []
    assert "There are none." in text
