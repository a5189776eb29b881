"""The page that explores a model, in a real browser: Chromium, driven as a user's mouse would."""

import asyncio
import dataclasses
import json
import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bmaml.explore import demo
from bmaml.explore.server import ExploreServer
from bmaml.explore.subjects import open_subject

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium (the extra browser) is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.costly,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and its driver are not installed"),
]
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1200,1400"),
)
# Where a place of a picture is on the screen, from the picture's own scales.
PLACE = """
const [title, x, y] = arguments;
const models = [...Bokeh.documents[0]._all_models.values()];
const view = Bokeh.index.find_one(models.find((m) => m.type == "Figure" && m.title.text.startsWith(title)));
const box = view.el.getBoundingClientRect();
return [box.left + view.frame.x_scale.compute(x), box.top + view.frame.y_scale.compute(y)];
"""
SOURCE = """
const data = Bokeh.documents[0].get_model_by_name("points").data;
const entries = data instanceof Map ? [...data] : Object.entries(data);
return JSON.stringify(Object.fromEntries(entries.map(([name, values]) => [name, Array.from(values)])));
"""
BAND = """
const models = [...Bokeh.documents[0]._all_models.values()];
const figure = models.find((m) => m.type == "Figure" && m.title.text.startsWith(arguments[0]));
const data = figure.renderers[0].data_source.data;
const of = (name) => Array.from(data instanceof Map ? data.get(name) : data[name]);
return [of("x"), of("low90"), of("high90")];
"""
CELLS = """
const cells = (root) => [...root.querySelectorAll("*")].flatMap((one) => [
  ...(one.classList.contains("slick-cell") ? [one.textContent] : []), ...(one.shadowRoot ? cells(one.shadowRoot) : [])]);
return cells(document);
"""
TEXT = "return window.Bokeh?.documents[0]?.get_model_by_name(arguments[0])?.text ?? ''"
PICTURE = "Posterior"


@pytest.fixture(scope="module")
def server():
    """A server in a thread of its own; its model has a few experts, so that its programs compile soon."""
    subject = open_subject(Path(demo.__file__).parent / "models" / "experts", "experts")
    method = subject.run.method
    few = dataclasses.replace(method, answering=method.answerer.with_particles(8))
    subject.run = dataclasses.replace(subject.run, method=few)
    made, started = [], threading.Event()

    def serve():
        asyncio.set_event_loop(asyncio.new_event_loop())
        made.append(ExploreServer([subject]))
        started.set()
        made[0].run()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(60)
    yield made[0]
    made[0].warmth.wait()  # A thread that compiles must not outlive the process.
    made[0].loop.add_callback(made[0].loop.stop)
    thread.join(20)


@pytest.fixture
def browser(server, tmp_path):
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}"):
        options.add_argument(flag)
    options.binary_location = CHROMIUM
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    driver.get(server.url)
    yield driver
    driver.quit()


def soon(holds, seconds=60):
    """Wait until something holds."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "nothing happened for so long"
        time.sleep(0.05)


def points(browser):
    return json.loads(browser.execute_script(SOURCE))


def mouse(browser, *places, clicks=0):
    """Press the button at the first place, or click so often; go through the others and let the button go."""
    actions = webdriver.ActionChains(browser, duration=20)
    pointer = actions.w3c_actions.pointer_action
    for count, (x, y) in enumerate(places):
        pointer.move_to_location(*(round(end) for end in browser.execute_script(PLACE, PICTURE, x, y)))
        if not count:
            for _ in range(clicks):
                pointer.click()
            if not clicks:
                pointer.pointer_down()
    if not clicks:
        pointer.pointer_up()
    actions.perform()


def test_clicks_drags_and_deletes_move_the_model(server, browser):
    soon(lambda: "Updated" in browser.execute_script(TEXT, "status") or "Ready" in browser.execute_script(TEXT, "status"))
    x, low, high = (np.array(part) for part in browser.execute_script(BAND, "Prior"))
    for count, place in enumerate(((-2.0, 1.0), (0.0, -1.5), (3.0, 2.0))):
        mouse(browser, place, clicks=1)
        soon(lambda most=count + 1: len([m for m in points(browser)["mean"] if m is not None]) == most)
    _, below, above = (np.array(part) for part in browser.execute_script(BAND, PICTURE))
    for place in (-2.0, 0.0, 3.0):
        at = np.abs(x - place).argmin()
        assert (above - below)[at] < 0.5 * (high - low)[at]
    mouse(browser, (3.0, 2.0), (2.8, 1.0), (2.6, 0.2), (2.5, 0.0))
    soon(lambda: abs(points(browser)["along"][2] - 2.5) < 0.05)
    mouse(browser, (0.0, -1.5), clicks=2)
    soon(lambda: len(points(browser)["y"]) == 2)
    given = points(browser)
    adapted = server.subjects[0].run.adapt(np.array(given["along"])[:, None], np.array(given["y"])[:, None])
    there = adapted.predict(np.array(given["along"])[:, None])
    soon(lambda: np.abs(np.array(points(browser)["mean"], float) - np.asarray(there.mean)[:, 0]).max() < 1e-6)
    np.testing.assert_allclose(points(browser)["std"], there.std[:, 0], atol=1e-6)
    shown = [f"{value:.3f}" for value in np.asarray(there.mean)[:, 0]]
    soon(lambda: browser.execute_script(CELLS)[2::4] == shown)
    told = re.findall(r"<td>(-?[\d.]+)</td>", browser.execute_script(TEXT, "numbers"))
    at = adapted.predict([[0.0]])
    np.testing.assert_allclose([float(one) for one in told], [at.mean[0, 0], at.std[0, 0]], atol=1e-6)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(name.startswith(server.url) for name in loaded), loaded
    browser.switch_to.new_window("window")
    browser.get(server.url)
    soon(lambda: "Updated" in browser.execute_script(TEXT, "status") or "Ready" in browser.execute_script(TEXT, "status"))
    assert points(browser)["y"] == []


def test_a_page_of_another_origin_is_refused(server, browser):
    browser.get("data:text/html,<title>a stranger's page</title>")
    found = browser.execute_async_script(
        "const [address, done] = arguments; const socket = new WebSocket(address, ['bokeh']);"
        "socket.onopen = () => done('open'); socket.onerror = () => done('refused');",
        server.url.replace("http", "ws") + "ws",
    )
    assert found == "refused"
