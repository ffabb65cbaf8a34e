"""The pages: what they show, without a script and with one, in a real browser."""

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event, Failure, ModelState, Running
from edgefleet_protocol.telemetry import DeviceWindow, Window
from edgefleet_server.alerts.judge import Alert, Change
from edgefleet_server.api.alert_routes import make_alert_routes
from edgefleet_server.api.asking import Asking
from edgefleet_server.api.door import Door
from edgefleet_server.api.web import make_app
from edgefleet_server.app import Server
from edgefleet_server.config import HttpConfig
from edgefleet_server.dashboard import charts
from edgefleet_server.dashboard.charts import Line, Mark
from edgefleet_server.dashboard.words import milliseconds
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store import alerts, devices, events, telemetry, tokens
from tests.fakes.browser import Browser
from tests.fakes.measured import MeasuredDay
from tests.fakes.scripted_device import PI4
from tests.fakes.web_server import WebServer

from .conftest import MakeServer

WEST, SOUTH = "eu-west", "ap-south"
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server that asks for tokens, with a rollout, an alert, and devices of which one says what it should not."""
    server = make_server(1, http=HttpConfig())
    now = time.time()
    with server.database.write() as connection:
        for name, region in (("door-1", WEST), ("door-2", WEST), ("shelf-1", SOUTH)):
            _hear(connection, name, region, now)
        alert = Alert(
            "hot", WEST, "heat", "warning", "open", "door-1 is at 84 °C", "/v1/devices/door-1", "Shade it.", ("door-1",),
            now - 60, opened_s=now - 30,
        )  # fmt: skip
        alerts.apply(connection, Change("open", alert))
    server.controller.begin(Order("fashion/1", regions=(WEST,)), "a test")
    with server.database.read() as connection:
        known = [row.id for row in devices.every(connection)]
    server.web = make_app(
        server.controller,
        server.views,
        server.database,
        server.clock,
        commander=server.commander,
        revocation=server.revocation,
        door=Door(server.database, server.clock, server.counters, open=False),
        more=(make_alert_routes(Asking(server.database, server.clock), server.views),),
        telemetry=MeasuredDay(now, (WEST, SOUTH), tuple(known)),
    )
    yield server
    server.database.close()


def _hear(connection: devices.Connection, name: str, region: str, now: float) -> None:
    running = Running(
        release="fashion/1", release_sha256="a" * 64, variant="int8", variant_sha256="c" * 64, since_s=now - 3600
    )
    failure = Failure(
        release="fashion/1", release_sha256="a" * 64, variant="fp32", stage="trial", reason=HOSTILE, at_s=now
    )
    model = ModelState(
        model="fashion", phase="probation", why="watched until 12:00", running=running, chosen="int8",
        chosen_why="the fastest that holds 0.9 accuracy", failures=(failure,),
    )  # fmt: skip
    state = DeviceState(
        device=name, session=1, boot="b", at_s=now, agent_version="0.1.0", region=region, hardware=PI4, models=(model,)
    )
    devices.put_state(connection, state, encode(state), now, live=True)
    facts = DeviceWindow(temperature_c=84.0, battery_percent=61.0 if name == "door-1" else None, throttled=("capped",))
    window = Window(start_s=now, seconds=60.0, boot="b", started_monotonic_s=1.0, device=facts)
    telemetry.add(connection, name, window, now, now)
    event = Event(device=name, boot="b", number=1, at_s=now, kind="activated", text=f"said by {name} {HOSTILE}")
    events.add(connection, event, now)


def token(server: Server, role: str = "operator", *regions: str) -> str:
    with server.database.write() as connection:
        return tokens.new(connection, "ana", role, frozenset(regions) or None, time.time(), 600.0)[1]


@pytest.fixture
def browser(server: Server) -> TestClient:
    """A browser that signed in on the page; it has no script."""
    client = TestClient(server.web, base_url="http://127.0.0.1:8300", headers={"Accept": "text/html"})
    fields, origin = {"token": token(server), "back": "/devices"}, {"Origin": "http://127.0.0.1:8300"}
    answer = client.post("/sign-in", data=fields, headers=origin, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/devices")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    return client


class Page(HTMLParser):
    """What matters of a page: its links, whether something in it would be obeyed, and what names what."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.charts = 0
        self.tables_of_charts = 0
        self._figure = False
        self.feed(text)

    def handle_starttag(self, tag: str, rows: list[tuple[str, str | None]]) -> None:
        facts = dict(rows)
        assert "style" not in facts and not any(name.startswith("on") for name in facts), (tag, facts)
        assert tag != "style" and (tag != "script" or facts.get("src", "").startswith("/static/"))  # type: ignore[union-attr]
        if tag == "a":
            self.links.add(facts["href"] or "")
        if "id" in facts:
            self.ids.append(facts["id"] or "")
        if "aria-labelledby" in facts:
            self.labels.append(facts["aria-labelledby"] or "")
        if tag == "figure":
            self._figure, self.charts = True, self.charts + 1
        if tag == "table" and self._figure:
            self.tables_of_charts, self._figure = self.tables_of_charts + 1, False
        if tag == "svg" and "aria-hidden" not in facts:
            assert facts.get("role") == "img" and facts.get("aria-label")


def test_every_page_is_whole_without_a_script_and_every_link_leads_somewhere(browser: TestClient) -> None:
    seen: set[str] = set()
    waiting = {"/"}
    while waiting:
        path = waiting.pop()
        seen.add(path)
        answer = browser.get(path)
        assert answer.status_code == 200, path
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        assert "<script>alert" not in answer.text
        page = Page(answer.text)
        assert len(page.ids) == len(set(page.ids)) and set(page.labels) <= set(page.ids), path
        assert page.charts == page.tables_of_charts
        found = {link for link in page.links if link.startswith("/")}
        # The roll-ups' own routes are not part of this server, which has a made day in their place.
        waiting |= {link for link in found if not re.search(r"last=(?!7d)|/api/v1/telemetry/", link)} - seen
    places = {urlsplit(path).path for path in seen}
    assert places >= {
        "/", "/devices", "/devices/door-1", "/regions/eu-west", "/rollouts", "/rollouts/eu-west/1", "/alerts", "/events",
        "/releases", "/api/v1/devices/door-1",
    }  # fmt: skip


def test_the_device_page_has_its_figures_their_source_and_why(browser: TestClient) -> None:
    text = browser.get("/devices/door-1").text
    for words in (
        "84 °C", "61 %", "capped", "the fastest that holds 0.9 accuracy", "Failed here", "in trial", "ina3221", "rpi-pmic",
        "Latency of fashion", "Memory of fashion", "Temperature", "Battery", "Clock held back", "p99", "fashion/2 int8",
        "&lt;script&gt;",
    ):  # fmt: skip
        assert words in text, words
    mains = browser.get("/devices/door-2").text
    assert "<b>mains</b>" in mains and "<h3>Battery</h3>" not in mains


def test_the_region_page_has_variants_with_drift_and_the_fleet_page_has_regions(browser: TestClient) -> None:
    region = browser.get("/regions/eu-west").text
    assert "0.312 above 0.100" in region and "0.012" in region and "13.1 ms" in region and "soft-limit" in region
    fleet = browser.get("/").text
    assert 'href="/regions/eu-west"' in fleet and 'href="/regions/ap-south"' in fleet and "41.7 ms" in fleet
    compared = browser.get("/regions/eu-west/compare?a=fashion/2:int8&b=").text
    assert "1.62 times" in compared and "0.210 above 0.100" in compared and "p99 of both" in compared
    assert browser.get("/regions/eu-west/compare?a=nonsense").status_code == 422
    assert browser.get("/regions/mars").status_code == 404
    assert "there is no region mars" in browser.get("/regions/mars").text


def test_filters_are_in_the_address(browser: TestClient) -> None:
    text = browser.get("/devices?region=ap-south&status=online&runs=fashion/1").text
    assert "shelf-1" in text and "door-1" not in text and "<option selected>ap-south</option>" in text
    everything = browser.get("/devices?region=&hardware=&status=&tag=&runs=&text=").text  # as the form says it
    assert "door-1" in everything and "shelf-1" in everything
    assert "No device is so" in browser.get("/devices?text=nothing").text
    assert browser.get("/?last=7d").status_code == 200 and browser.get("/?last=9y").status_code == 422


def test_an_alert_is_taken_and_silenced_by_a_form_from_here_and_from_nowhere_else(
    server: Server, browser: TestClient
) -> None:
    assert "I take it" in browser.get("/alerts").text
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        answer = browser.post("/alerts/1/acknowledge", data={"back": "/alerts"}, headers=headers)
        assert answer.status_code == 403
    mine = {"Origin": "http://127.0.0.1:8300"}
    answer = browser.post(
        "/alerts/1/acknowledge", data={"back": "//evil.example"}, headers=mine, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "In hand of ana" in browser.get("/alerts").text
    browser.post("/alerts/1/silence", data={"for": "8h", "back": "/alerts"}, headers=mine)
    assert "Silenced by ana" in browser.get("/alerts").text
    assert [row["outcome"] for row in server.views.audit(2)] == [
        "silenced for 28800 s on the page",
        "acknowledged on the page",
    ]
    browser.post("/sign-out", data={"x": ""}, headers=mine)
    assert browser.get("/alerts").status_code == 401


def test_who_may_only_look_gets_no_buttons_and_only_their_region(server: Server) -> None:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300", headers={"Accept": "text/html"})
    client.cookies.set("edgefleet_token", token(server, "viewer", SOUTH))
    text = client.get("/").text
    assert "shelf-1" in text and "door-1" not in text and WEST not in text and "I take it" not in text
    assert client.get("/devices/door-1").status_code == 404 and client.get("/regions/eu-west").status_code == 403
    wrong = {"token": "ef_" + "x" * 43, "back": "/"}
    answer = client.post("/sign-in", data=wrong, headers={"Origin": "http://127.0.0.1:8300"})
    assert answer.status_code == 401 and "this token was never given here" in answer.text


def test_a_chart_breaks_where_nothing_is_known_and_has_every_value_in_its_table() -> None:
    at_s = [0.0, 60.0, 120.0, 600.0, 660.0]
    line = Line("p95", "p95", [0.010, 0.020, None, 0.030, 0.040])
    drawn = charts.draw(
        "Latency", at_s, [line, Line("p99", "p99", [None] * 5)], milliseconds,
        from_s=0, to_s=900, step_s=60, marks=[Mark(100.0, "fashion/2"), Mark(9000.0, "outside")], limit=(0.05, "budget"),
    )  # fmt: skip
    assert drawn is not None
    assert [one.name for one in drawn.lines] == ["p95"] and drawn.lines[0].path.count("M") == 2
    assert drawn.rows[0] == ("1970-01-01 00:11", "40.0 ms", "–") and len(drawn.rows) == 4
    assert [text for _, text in drawn.ticks_y] == ["0.0 ms", "10.0 ms", "20.0 ms", "30.0 ms", "40.0 ms", "50.0 ms"]
    assert [mark.text for mark in drawn.marks] == ["fashion/2"] and drawn.limit is not None
    assert "Newest: p95 40.0 ms" in drawn.summary
    assert charts.draw("x", at_s, [Line("a", "p50", [None] * 5)], str, from_s=0, to_s=1, step_s=1) is None
    flat = charts.draw("x", [0.0], [Line("a", "p50", [7.0])], str, from_s=0, to_s=0, step_s=60, least=None)
    assert flat is not None and flat.lines[0].path == "" and len(flat.lines[0].dots) == 1


def test_every_colour_of_words_can_be_read_on_what_it_stands_on() -> None:
    """A contrast of 4.5 (WCAG 2.1, 1.4.3), light and dark."""
    sheet = (Path(charts.__file__).parent / "static/page.css").read_text()
    colours = {
        name: pair for name, *pair in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", sheet)
    }

    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for scheme in (0, 1):
        for words in ("text", "quiet", "accent", "good", "bad", "busy"):
            for ground in ("page", "card"):
                lights = sorted((light(colours[words][scheme]), light(colours[ground][scheme])))
                contrast = (lights[1] + 0.05) / (lights[0] + 0.05)
                assert contrast >= 4.5, (words, ground, scheme, contrast)


def test_a_real_browser_shows_the_figures_and_follows_the_live_stream(server: Server, tmp_path: Path) -> None:
    with WebServer(server.web) as web, Browser(tmp_path / "profile") as browser:
        browser.cookie(web.url, "edgefleet_token", token(server))
        browser.go(f"{web.url}/devices/door-1")
        text = browser.run("document.querySelector('main').innerText")
        assert "84 °C" in text and "the fastest that holds 0.9 accuracy" in text and HOSTILE in text
        assert browser.run("document.querySelectorAll('figure svg[role=img] path.line.p99').length") >= 1
        browser.until("document.getElementById('live').textContent === 'live'")
        browser.run("document.querySelector('details').open = true")
        with server.database.write() as connection:
            event = Event(device="door-1", boot="b", number=2, at_s=1.0, kind="proven", text="it just happened")
            events.add(connection, event, time.time())
        browser.until("document.querySelector('main').innerText.includes('it just happened')")
        assert browser.run("document.querySelector('details').open"), "what a person had opened stays open"
        assert browser.faults == []
