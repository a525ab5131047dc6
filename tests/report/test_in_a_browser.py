"""The report as Chromium shows it: numbers, sorting by mouse and keyboard, width of a phone, light and dark."""

import numpy as np
import pytest

import scdata
from scdata.report.page import report_page
from scdata.report.set_numbers import set_numbers
from scdata.shard.shard_set import ShardSet
from tests.report.browser import Browser, find_chromium

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(demo_set, demo_numbers, tmp_path_factory):
    """A page of two sets, and the sets."""
    folder = tmp_path_factory.mktemp("two")
    scdata.build_shards(
        "synthetic:cells=2000,genes=300,mean_genes=60", folder / "other.set", splits=["val=0.2:donor_id"]
    )
    page = folder / "page.html"
    page.write_text(report_page([demo_numbers, set_numbers(folder / "other.set")]))
    return page, [ShardSet(demo_set), ShardSet(folder / "other.set")]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if (path := find_chromium()) is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with Browser(path, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def at(browser, two):
    browser.open(two[0])
    browser.look(1280)
    return browser


def caption(text, which=0):
    """JavaScript: a table by how its caption begins."""
    return f"[...document.querySelectorAll('table')].filter(t => t.caption.textContent.startsWith({text!r}))[{which}]"


def column(browser, table, i):
    return browser.ask(f"[...{table}.tBodies[0].rows].map(row => row.cells[{i}].textContent)")


def test_it_shows_the_numbers_of_the_manifests(at, two):
    for i, shards in enumerate(two[1], 1):
        manifest = shards.manifest
        shown = dict(
            zip(column(at, caption("The main numbers"), 0), column(at, caption("The main numbers"), i), strict=True)
        )
        assert shown["cells"] == f"{manifest['n_cells']:,}"
        assert shown["genes of the set"] == f"{manifest['n_genes']:,}"
        sizes = column(at, caption("Splits", i - 1), 1)
        assert sizes == [f"{split['n_cells']:,}" for split in manifest["splits"].values()]
    assert at.requests == [two[0].as_uri()]
    assert at.said == []


def test_a_click_sorts(at):
    table = caption("donor_id: ")
    head = f"{table}.tHead.rows[0].cells[1]"
    cells = [int(text.replace(",", "")) for text in column(at, table, 1)]
    assert len(cells) > 5
    at.click(f"{head}.querySelector('button')")
    assert at.ask(f"{head}.ariaSort") == "descending"
    at.click(f"{head}.querySelector('button')")
    assert at.ask(f"{head}.ariaSort") == "ascending"
    assert [int(text.replace(",", "")) for text in column(at, table, 1)] == sorted(cells)
    assert "sorted by cells, ascending" in at.ask("document.getElementById('spoken').textContent")
    at.click(f"{table}.tHead.rows[0].cells[0].querySelector('button')")
    names = column(at, table, 0)
    assert names == sorted(names, key=lambda name: int(name.removeprefix("donor-")))
    assert at.ask(f"{head}.ariaSort") == "none"


def test_the_keyboard_sorts_too(at):
    table = caption("cell_type: ")
    at.ask(f"{table}.tHead.rows[0].cells[0].querySelector('button').focus()")
    at.press("Enter", 13)
    assert at.ask(f"{table}.tHead.rows[0].cells[0].ariaSort") == "ascending"
    names = column(at, table, 0)
    assert names == sorted(names, key=str.lower)


def luminance(color):
    channel = [int(c) / 255 for c in color[color.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channel]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_a_phone_and_a_desk_in_light_and_dark(at, width, scheme, tmp_path):
    at.look(width, scheme)
    # tables scroll in their boxes, the page does not
    assert at.ask("document.documentElement.scrollWidth") == width
    boxes = at.ask(
        "[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.height])"
    )
    assert all(left >= 0 and right <= width and height > 50 for left, right, height in boxes)
    ink, paper, link = at.ask(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('nav a')).color]"
    )
    for color in (ink, link):  # the contrast that WCAG 2 asks for at level AA
        low, high = sorted((luminance(color), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) > 4.5
    assert (luminance(paper) > 0.5) == (scheme == "light")
    # text of figures takes the page's colour, so that it is read in the dark
    assert at.ask("getComputedStyle(document.querySelector('svg text')).fill") == ink
    at.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_that_a_set_holds_runs(browser, make_set, tmp_path):
    evil = "<img src=x onerror='document.title=1'><script>document.title = 2</script>"
    X = np.random.default_rng(0).poisson(1.0, (100, 30))
    page = tmp_path / "evil.html"
    page.write_text(report_page([set_numbers(make_set("evil", X, {"<b>who": [evil, "b"] * 50}))]))
    browser.open(page)
    assert browser.ask("document.title") == "evil.set – scdata report"
    assert browser.ask("document.images.length") == 0
    assert evil in column(browser, caption("<b>who"), 0)
