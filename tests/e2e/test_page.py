"""The status page in a real Chromium, beside a daemon whose host is busy."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from browser import Browser
from prometheus_rig import PATIENCE_SECONDS, BusyDaemon

from warmset.cli.top_frame import COLOURS
from warmset.core.settings import ServeSettings, Settings
from warmset.errors import ConfigError
from warmset.shell.board.values import Board, Gpu, Model, Moment, NextStep, Part, StandingAlarm
from warmset.shell.page.past import MOST_LANES, lanes_of
from warmset.shell.page.sections import TITLES, render_sections
from warmset.shell.page.site import MOST_STREAMS, STYLE, render_page
from warmset.shell.telemetry.web import Answer, Web, check_listen

WIDTHS = (360, 800, 1440)
EVIL = '<img src=x onerror="alert(1)">\x1b&amp;\u202e'

CONTRAST = """
(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
  const channel = (v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || e.closest("svg, script, noscript, style")) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) bad.push([walk.currentNode.data.trim(), ratio]);
  }
  return bad;
})()
"""
"""Texts whose contrast is below 4.5 to 1. Source: WCAG 2.2, 1.4.3 and its relative luminance."""

STRUCTURE = """
(() => {
  const all = (s) => [...document.querySelectorAll(s)];
  const ids = all("[id]").map((e) => e.id);
  return {
    lang: document.documentElement.lang,
    h1: all("h1").length,
    headings: all("h1, h2, h3").map((e) => Number(e.tagName[1])),
    landmarks: ["header", "main"].map((t) => all(t).length),
    twice: ids.filter((id, n) => ids.indexOf(id) !== n),
    unnamed: all("section").filter((e) =>
      !document.getElementById(e.getAttribute("aria-labelledby"))).map((e) => e.id),
    pictures: all("svg:not([aria-hidden])").filter((e) =>
      e.getAttribute("role") !== "img" || !e.getAttribute("aria-label")).length,
    tables: all("table").filter((e) => !e.caption ||
      all("thead th").some((th) => th.scope !== "col")).length,
    tabs: all("[tabindex]").filter((e) => e.tabIndex > 0).length,
    live: document.querySelector("#alarms-now").getAttribute("aria-live"),
  };
})()
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all."""
    made = Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def daemon() -> Iterator[BusyDaemon]:
    """One daemon with a page, after its first eviction."""
    made = BusyDaemon(page=True, haste=4.0)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not has_past(made):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield made
    made.stop()


def has_past(daemon: BusyDaemon) -> bool:
    """Whether something was loaded and something evicted, and a curve is there."""
    answer = httpx.get(f"{daemon.url}/api/status.json", timeout=60)
    if answer.status_code == 503:
        return False
    plain = answer.json()
    kinds = {moment["kind"] for moment in plain["moments"]}
    return {"load", "eviction"} <= kinds and any(model["gaps"] for model in plain["models"])


def open_page(browser: Browser, url: str) -> None:
    """Opens the page and waits until it is live."""
    browser.events.clear()
    browser.open(url)
    browser.wait_until(lambda: browser.run("document.getElementById('link').textContent") == "live")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_on_phone_and_desktop(
    browser: Browser, daemon: BusyDaemon, tmp_path: Path, dark: bool
) -> None:
    """Nothing is wider than the window, every text has contrast, and nothing is complained of."""
    browser.show(WIDTHS[0], dark=dark)
    open_page(browser, daemon.url)
    for width in WIDTHS:
        browser.show(width, dark=dark)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), width
        assert browser.run(CONTRAST) == [], width
        picture = tmp_path / f"{width}.png"
        browser.shoot(picture)
        assert picture.stat().st_size > 10_000
    ground = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(22, 24, 27)") is dark
    assert browser.complaints() == []


def test_it_asks_nobody_else(browser: Browser, daemon: BusyDaemon) -> None:
    """All that it loads comes from the daemon, and a foreign script would not run."""
    open_page(browser, daemon.url)
    ours = urlsplit(daemon.url).netloc
    asked = browser.requested()
    assert {urlsplit(u).netloc for u in asked if not u.startswith("data:")} == {ours}
    browser.run(
        "document.body.appendChild(Object.assign(document.createElement('script'),"
        " {text: 'window.alien = 1'}))"
    )
    assert browser.run("window.alien") is None


def test_assistive_technology_finds_its_way(browser: Browser, daemon: BusyDaemon) -> None:
    """Landmarks, headings in order, named pictures and tables; tables stay tables on a phone."""
    browser.show(360)
    open_page(browser, daemon.url)
    found = browser.run(STRUCTURE)
    levels = found.pop("headings")
    assert all(b - a <= 1 for a, b in pairwise(levels)), levels
    assert found == {
        "lang": "en",
        "h1": 1,
        "landmarks": [1, 1],
        "twice": [],
        "unnamed": [],
        "pictures": 0,
        "tables": 0,
        "tabs": 0,
        "live": "polite",
    }
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            roles.setdefault(node["role"]["value"], []).append(name)
    assert {"Model", "State", "Rank"} <= set(roles["columnheader"])
    assert len(roles["rowheader"]) >= 3
    assert any(name.startswith("GPU 0, 24.0 GiB: ") for name in roles["image"])
    assert set(TITLES.values()) <= set(roles["region"])


def test_the_keyboard_shows_where_it_is(browser: Browser, daemon: BusyDaemon) -> None:
    """The first stop is a link past everything; it is seen when it has the focus, and works."""
    browser.show(800)
    open_page(browser, daemon.url)
    browser.press("Tab")
    skip = "document.activeElement"
    assert browser.run(f"{skip}.className") == "skip"
    assert browser.run(f"{skip}.getBoundingClientRect().left") >= 0
    assert browser.run(f"getComputedStyle({skip}).outlineWidth") == "3px"
    browser.press("Enter")
    browser.wait_until(lambda: browser.run("location.hash") == "#models")


def test_it_changes_as_the_host_does(browser: Browser, daemon: BusyDaemon) -> None:
    """Time and timeline move on in the page that was opened, which is not loaded again."""
    open_page(browser, daemon.url)
    browser.run("window.marker = 1")
    timeline = "document.getElementById('timeline-now').textContent"
    clock = "document.querySelector('#summary-now time').dateTime"
    before, then = browser.run(timeline), browser.run(clock)
    browser.wait_until(lambda: browser.run(timeline) != before and browser.run(clock) > then)
    assert browser.run("window.marker") == 1


def test_without_javascript_it_loads_itself_again(browser: Browser, daemon: BusyDaemon) -> None:
    """All is in the page; it comes anew by itself."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.events.clear()
        browser.open(daemon.url)
        assert (
            "GPU 0: NVIDIA"
            in browser.call(
                "DOM.getOuterHTML", nodeId=browser.call("DOM.getDocument")["root"]["nodeId"]
            )["outerHTML"]
        )
        browser.wait_until(lambda: len(browser.requested()) >= 2)
        assert browser.complaints() == []
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_the_past_is_drawn_and_told(browser: Browser, daemon: BusyDaemon) -> None:
    """One lane for each model of the list, up to eight, as one picture with a sentence; the list
    beside it has every change in words."""
    open_page(browser, daemon.url)
    counts = browser.run(
        "(() => { const all = (s) => [...document.querySelectorAll('#timeline-now ' + s)];"
        " return [all('svg').length, all('svg rect').length, all('svg .axis').length,"
        " new Set(all('li b').map((e) => e.textContent)).size, all('svg[role=img]').length]; })()"
    )
    pictures, bars, lanes, names, told = counts
    assert pictures == told == 1
    assert lanes == min(names, MOST_LANES)
    assert bars >= 1
    label = browser.run("document.querySelector('.past').getAttribute('aria-label')")
    assert label.startswith(f"{lanes} models from ")


def test_lanes_follow_loads_and_evictions() -> None:
    """Resident from the load, or from the beginning if none was seen, until the eviction or now;
    a second load without an eviction changes nothing, nor does an eviction that was told twice."""

    def moment(at: float, kind: str, name: str) -> Moment:
        return Moment(at=at, kind=kind, name=name, text="")

    told = [
        moment(10, "eviction", "old"),
        moment(20, "load", "a"),
        moment(30, "load", "a"),
        moment(35, "server", ""),
        moment(40, "eviction", "a"),
        moment(45, "eviction", "a"),
        moment(50, "failure", "b"),
        moment(60, "load", "a"),
    ]
    lanes = lanes_of(told[::-1], 5.0, 100.0)
    assert [lane.name for lane in lanes] == ["a", "b", "old"]
    assert [lane.stays for lane in lanes] == [[(20, 40), (60, 100.0)], [], [(5.0, 10)]]
    assert lanes[1].failures == [50]


def test_a_daemon_that_ends_is_missed(browser: Browser) -> None:
    """What is shown then may be old, and the page says so instead of looking alive."""
    daemon = BusyDaemon(page=True)
    try:
        open_page(browser, daemon.url)
        with httpx.stream("GET", f"{daemon.url}/api/events", timeout=60) as stream:
            assert next(stream.iter_lines()) == "event: section"
    finally:
        began = time.monotonic()
        daemon.stop()
    assert time.monotonic() - began < 30  # an open stream does not keep it
    browser.wait_until(
        lambda: "may be old" in browser.run("document.getElementById('link').textContent")
    )
    browser.open("about:blank")


def test_it_only_shows_and_only_here(daemon: BusyDaemon) -> None:
    """GET alone, under a name of this machine, with headers that keep browsers in bounds."""
    with httpx.Client(base_url=daemon.url, timeout=60) as client:
        page = client.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert client.get("/nothing").status_code == 404
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            for path in ("/", "/api/status.json", "/api/events"):
                assert client.request(method, path).status_code == 405
        for path in ("/", "/api/status.json", "/api/events"):
            assert client.get(path, headers={"host": "evil.example"}).status_code == 421
        assert client.get("/", headers={"host": "localhost:1"}).status_code == 200


def test_open_pages_are_bounded(daemon: BusyDaemon) -> None:
    """One too many is turned away, and metrics are still there."""
    streams = []
    with httpx.Client(
        base_url=daemon.url, limits=httpx.Limits(max_connections=40), timeout=60
    ) as client:
        try:
            for _ in range(MOST_STREAMS + 4):
                answer = client.send(client.build_request("GET", "/api/events"), stream=True)
                if answer.status_code != 200:
                    break
                parts = answer.iter_raw()
                next(parts)
                streams.append((answer, parts))
            assert (len(streams), answer.status_code) == (MOST_STREAMS, 503)
            answer.close()
            assert client.get("/metrics").status_code == 200
        finally:
            for answer, _ in streams:
                answer.close()


def scope_of(path: str, peer: str, host: bytes = b"gpu.lan:11436") -> dict[str, Any]:
    """Returns what a server is told of a request."""
    headers = [(b"host", host)]
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "client": (peer, 1),
        "headers": headers,
    }


def test_other_machines_see_names_only_if_wanted() -> None:
    """Whoever asks from this machine is told from others; without a name it is nobody's answer."""
    web = Web({"/api/status.json": lambda asked: Answer(body=str(asked.is_local).encode())})
    web._guards_names = False
    for peer, is_local in (("127.0.0.1", True), ("::1", True), ("192.0.2.7", False), ("", False)):
        answer = web._find(scope_of("/api/status.json", peer))
        assert answer is not None
        assert answer.body == str(is_local).encode()
    web._guards_names = True
    for host in (b"gpu.lan", b"", b"[", b"127.0.0.1.evil.example"):
        with_host = scope_of("/", "127.0.0.1", host)
        try:
            answer = web._find(with_host)
        except ValueError:
            pytest.fail(f"{host!r} is no reason to fail")
        assert answer is not None
        assert answer.status == 421, host


def test_a_page_needs_an_address() -> None:
    """`page = true` beside `listen = "off"` is a contradiction, and is not ignored."""
    with pytest.raises(ConfigError, match="needs an address"):
        check_listen(Settings(serve=ServeSettings(listen=None, page=True)))


class Reader(HTMLParser):
    """Reads a page as a browser does, and keeps its elements and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def count(self, tag: str) -> int:
        """Returns how many elements of a kind there are."""
        return self.elements.count(tag)


def evil_board() -> Board:
    """A picture in which every text comes from an enemy."""
    part = Part(owner="model", name=EVIL, mark="A", bytes=1)
    odd = Part(owner="foreign", name=EVIL, mark="", bytes=None)
    gpu = Gpu(
        label=EVIL,
        name=EVIL,
        state=EVIL,
        total_bytes=2,
        free_bytes=1,
        budget_bytes=1,
        parts=(part, odd),
    )
    model = Model(
        name=EVIL,
        mark="A",
        state="resident",
        is_wanted=True,
        is_pinned=False,
        priority=1,
        rank=1,
        where=EVIL,
        held_bytes=1,
        is_observed=True,
        keep_alive_seconds=1.0,
        left_seconds=1.0,
        is_forever=False,
        is_busy=True,
        used_ago_seconds=1.0,
        next=EVIL,
    )
    return Board(
        at=0.0,
        warmset="1",
        server=EVIL,
        ollama=EVIL,
        verdict="waiting",
        trouble=EVIL,
        tick_seconds=1.0,
        ram_total_bytes=None,
        ram_available_bytes=None,
        gpus=(gpu, Gpu(**{**gpu_fields(gpu), "total_bytes": None})),
        models=(model,),
        moments=(Moment(at=0.0, kind="load", name=EVIL, text=EVIL),),
        steps=(NextStep(kind="preload", name=EVIL, reason=EVIL),),
        alarms=(StandingAlarm(code=EVIL, severity="error", text=EVIL, age_seconds=0.0),),
    )


def gpu_fields(gpu: Gpu) -> dict[str, Any]:
    """Returns a GPU's fields by name."""
    return {name: getattr(gpu, name) for name in Gpu.__dataclass_fields__}


def test_names_from_servers_are_only_text() -> None:
    """No name becomes an element, an attribute or a control character; nothing is styled inline."""
    html = render_page(render_sections(evil_board()))
    assert "<img" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "&lt;img src=x" in html
    reader = Reader()
    reader.feed(html)
    assert "style" not in reader.attributes
    assert not [name for name in reader.attributes if name.startswith("on")]
    assert reader.count("script") == reader.count("style") == 1


def light_of(colour: str) -> float:
    """Returns a colour's relative luminance. Source: WCAG 2.2, relative luminance."""
    whole = "".join(2 * c for c in colour) if len(colour) == 3 else colour
    channels = [int(whole[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_letters_on_bars_can_be_read() -> None:
    """Every colour of a model bears dark letters, on the page and in the terminal."""
    fills = re.findall(r"\.m\d \{ fill: #([0-9a-f]{3,6})", STYLE)
    assert len(fills) == 8
    for colour in fills:
        assert (light_of(colour) + 0.05) / (light_of("111") + 0.05) >= 4.5, colour
    for colour in COLOURS:
        assert (light_of(colour[1:]) + 0.05) / 0.05 >= 4.5, colour


def test_before_the_first_look_the_page_says_so() -> None:
    """There is nothing to show yet, and no error either."""
    assert render_page({}).count("No look has ended yet.") == len(TITLES) + 1
