"""The page that explores a model: its numbers are the model's, a window is a world of its own, and strangers are refused."""

import csv
import dataclasses
import io
from pathlib import Path

import jax
import numpy as np
import pytest
from bokeh.events import DoubleTap, Pan, PanEnd, PanStart, Tap
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from bmaml import FewShotRegressor, Predictor
from bmaml.data import data
from bmaml.errors import InputError
from bmaml.explore import demo, warm
from bmaml.explore.axes import Axis, input_axis
from bmaml.explore.densities import DENSITIES, drawing
from bmaml.explore.files import points_csv, predictions_csv
from bmaml.explore.inference_page import InferencePage
from bmaml.explore.looks import Points, curve_rows, look, pool_rows, start_view
from bmaml.explore.moves import MOVES, advance, start
from bmaml.explore.page import Page
from bmaml.explore.pointers import nearest
from bmaml.explore.server import ExploreServer
from bmaml.explore.subjects import open_subject, stepped
from bmaml.learners.wrappers import with_steps
from bmaml.tables import Column

MODELS = Path(demo.__file__).parent / "models"
FIXTURES = Path(__file__).parents[1] / "fixtures" / "runs"
GIVEN = [(-2.0, 1.0), (0.5, -1.0), (2.5, 0.5)]


class Ready(warm.Warmth):
    """Programs compile when they are asked for."""

    def __init__(self, subjects=()):
        super().__init__(subjects)
        self.ready = self.stepped = warm.MOST

    def start(self):
        return self


@pytest.fixture(scope="module")
def experts():
    """The model that comes with the package, with a few of its experts, so that programs are small."""
    subject = open_subject(MODELS / "experts", "experts")
    method = subject.run.method
    answering = method.answerer.with_particles(8)
    subject.run = dataclasses.replace(subject.run, method=dataclasses.replace(method, answering=answering))
    return subject


@pytest.fixture(scope="module")
def bmaml_model():
    return open_subject(MODELS / "bmaml", "BMAML")


@pytest.fixture(scope="module")
def regressor():
    return open_subject(FIXTURES / "recalibrated", "a table's")


@pytest.fixture
def page(experts):
    made = Page([experts], Ready())
    made.refresh()
    return made


def pointer(kind, page, x, y):
    """An event of the pointer in the picture of the posterior."""
    page.posterior[0].figure._trigger_event(kind(page.posterior[0].figure, sx=0, sy=0, x=x, y=y))


def test_the_page_shows_what_the_model_says(page):
    for x, y in GIVEN:
        page.add((x,), y)
    page.view.at = 1.25
    page.refresh()
    x, y = np.array(GIVEN).T
    posterior = page.first.run.adapt(x[:, None], y[:, None])
    for shown, rows in ((page.looks[0].mean, curve_rows(page.first, page.view)), (page.looks[0].given[0], x[:, None])):
        np.testing.assert_allclose(shown, posterior.predict(rows).mean[:, 0], atol=1e-6)
    np.testing.assert_allclose(page.source.data["std"], posterior.predict(x[:, None]).std[:, 0], atol=1e-6)
    mean, deviation, bands = page.looks[0].at
    there = posterior.predict([[1.25]])
    np.testing.assert_allclose([mean, deviation], [there.mean[0, 0], there.std[0, 0]], atol=1e-6)
    for level, ends in ((0.9, (bands.low90, bands.high90)), (0.5, (bands.low50, bands.high50))):
        np.testing.assert_allclose([end[0] for end in ends], [end[0, 0] for end in there.interval(level)], atol=1e-6)


def test_a_pointer_adds_drags_selects_and_deletes(page):
    width = page.priors[0].bands.high90 - page.priors[0].bands.low90
    for x, y in GIVEN:
        pointer(Tap, page, x, y)
    assert page.points.x == [(x,) for x, _ in GIVEN]
    grid = curve_rows(page.first, page.view)[:, 0]
    at = [int(np.abs(grid - x).argmin()) for x, _ in GIVEN]
    narrow = page.looks[0].bands.high90 - page.looks[0].bands.low90
    assert (narrow[at] < 0.4 * width[at]).all()
    for kind, x, y in ((PanStart, 0.52, -1.02), (Pan, 0.7, 0.0), (PanEnd, 1.0, 0.25)):
        pointer(kind, page, x, y)
    assert page.points.x[1] == (1.0,)
    assert page.points.y[1] == 0.25
    assert page.source.selected.indices == [1]
    pointer(Tap, page, -2.0, 1.0)
    assert (len(page.points), page.selected) == (3, 0)
    page.delete_selected()
    pointer(DoubleTap, page, 2.5, 0.5)
    assert page.points.x == [(1.0,)]
    pointer(PanStart, page, -4.0, 3.0)  # Nothing is under the pointer, so nothing is dragged.
    pointer(PanEnd, page, 0.0, 0.0)
    assert page.points.x == [(1.0,)]
    page.clear()
    np.testing.assert_array_equal(page.looks[0].mean, page.priors[0].mean)


def test_what_is_typed_into_the_table_moves_the_point(page):
    page.add((1.0,), 2.0)
    page.source.data = dict(page.source.data) | {"y": [-1.5]}
    assert page.points.y == [-1.5]
    assert page.looks[0].given[0][0] < 0
    page.source.data = dict(page.source.data) | {"y": [None]}  # An emptied cell.
    assert page.points.y == [-1.5]
    assert list(page.source.data["y"]) == [-1.5]


def test_a_page_takes_no_more_points_than_programs_are_compiled_for(page):
    page.points.x[:], page.points.y[:] = [(0.1 * i,) for i in range(warm.MOST)], [0.0] * warm.MOST
    page.add((3.0,), 1.0)
    assert len(page.points) == warm.MOST
    assert "32 points already" in page.status.text


def test_another_number_of_points_needs_no_new_program(page, compilations):
    for i in range(8):
        page.points.add((0.5 * i,), 1.0)
    page.refresh()
    before = len(compilations)
    page.delete(7)
    page.delete(6)
    assert len(page.looks[0].given[0]) == 6
    assert len(compilations) == before


def test_nothing_is_drawn_before_programs_are_compiled(experts, bmaml_model):
    cold = Ready()
    cold.ready = -1
    page = Page([experts], cold)
    page.add((0.0,), 1.0)
    assert page.looks == []
    assert "Compiling" in page.status.text
    cold.ready = 8
    page.refresh()
    assert len(page.looks[0].given[0]) == 1
    cold.stepped = -1  # Programs for other numbers of inner steps come later.
    page = Page([bmaml_model], cold)
    page.set_steps(2)
    assert page.looks == []
    assert "Compiling" in page.status.text


def test_bands_for_the_eye_are_within_a_fiftieth_of_a_deviation(experts):
    points, view = Points([(x,) for x, _ in GIVEN], [y for _, y in GIVEN]), start_view(experts)
    found = look(experts, points, view)
    exact = experts.adapted(np.array(points.x), np.array(points.y)).bands(curve_rows(experts, view))
    for quick, end in zip(found.bands, exact, strict=True):
        assert (np.abs(quick - end) < 0.02 * found.std).all()


def test_the_best_points_are_those_of_suggest(regressor):
    width = len(regressor.inputs)
    points, view = Points([(0.0,) * width], [regressor.outcome.middle]), start_view(regressor)
    found = look(regressor, points, view)
    task = FewShotRegressor.load(FIXTURES / "recalibrated").adapt(np.zeros((1, width)), [regressor.outcome.middle])
    pool = pool_rows(regressor, view)
    best = int(np.argmax(found.worth["variance"]))
    np.testing.assert_array_equal(pool[best], pool[task.suggest(pool, by="variance")[0]])
    exact = task.predict(curve_rows(regressor, view))
    np.testing.assert_allclose(found.mean, exact, atol=1e-6)


def test_a_slider_of_inner_steps_is_the_learner_with_so_many(bmaml_model):
    run, x, y = bmaml_model.run, np.array([[0.3], [1.5]]), np.array([[1.0], [-0.5]])
    for steps in (0, 3):  # One program serves both.
        other = Predictor(with_steps(run.method.answerer, steps), run.meta).adapt(data(x, y), key=jax.random.key(0))
        posterior = stepped(run, steps).adapt(x, y)
        np.testing.assert_allclose(posterior.predict(x).mean, other.predict(x).mean, atol=1e-5)
    assert stepped(run, run.method.answerer.steps) is run


def test_two_models_side_by_side_share_points_and_axes(experts, bmaml_model):
    page = Page([experts, bmaml_model], Ready())
    page.add((0.5,), 1.0)
    assert len(page.looks) == 2
    assert page.looks[1].particles
    rows = list(csv.DictReader(io.StringIO(predictions_csv(page))))
    assert {row["model"] for row in rows} == {"experts", "BMAML"}
    given = [row for row in rows if row["at"] == "given" and row["model"] == "BMAML"]
    assert float(given[0]["mean"]) == page.looks[1].given[0][0]
    assert points_csv(page) == "x,y\n0.5,1.0\n"


def test_every_window_is_its_own_and_strangers_are_refused(experts):
    cold = Ready()
    cold.ready = -1  # Nothing is drawn, so nothing is compiled.
    server = ExploreServer([experts], warmth=cold)

    async def ask():
        client, base = AsyncHTTPClient(), f"http://127.0.0.1:{server.port}"
        bodies = [(await client.fetch(base)).body.decode() for _ in range(2)]
        for body in bodies:
            assert "https://" not in body
            assert "http://" not in body
        one, other = server.pages.values()
        one.points.add((0.5,), 1.0)
        link = f"{base}/download/points.csv?page="
        found = [(await client.fetch(link + page.token)).body.decode() for page in (one, other)]
        with pytest.raises(HTTPClientError, match="404"):
            await client.fetch(link + "guessed")
        socket, own = f"ws://127.0.0.1:{server.port}/ws", f"http://localhost:{server.port}"
        for origin in ("http://evil.example", f"http://localhost:{server.port + 1}", f"http://evil.example:{server.port}"):
            with pytest.raises(HTTPClientError, match="403"):
                await websocket_connect(HTTPRequest(socket, headers={"Origin": origin}), subprotocols=["bokeh"])
        (await websocket_connect(HTTPRequest(socket, headers={"Origin": own}), subprotocols=["bokeh"])).close()
        return found

    try:
        assert server.loop.run_sync(ask) == ["x,y\n0.5,1.0\n", "x,y\n"]
    finally:
        server.stop()


def test_a_column_becomes_an_axis_and_its_values_cells():
    plain = input_axis(Column("a", mean=10.0, scale=2.0, low=-1.0, high=1.5))
    np.testing.assert_allclose([plain.low, plain.high], [7.75, 13.25])
    log = input_axis(Column("dose", log=True, mean=0.0, scale=1.0, low=0.0, high=1.0))
    np.testing.assert_allclose([log.low, log.high], np.exp([-0.05, 1.05]))
    day = input_axis(Column("day", form="date", scale=10.0, low=0.0, high=1.0, origin=86_400_000_000))
    assert str(day.cells(np.array([day.low]))[0])[:10] == "1970-01-01"
    levels = input_axis(Column("kind", "category", levels=("a", "b")))
    assert levels.cells(np.array([1.0, 0.0])).tolist() == ["b", "a"]
    clock = Axis("hour", 0.0, 24.0, form="clock")
    assert clock.cells(np.array([13.5])).tolist() == ["13:30:00"]
    yes = Axis("ill", -0.15, 1.15, levels=("no", "yes"), whole=True)
    assert (yes.snapped(0.8), yes.snapped(-0.4), Axis("n", 0, 9, whole=True).snapped(2.6)) == (1.0, 0.0, 3.0)


def test_a_pointer_is_on_the_nearest_point_on_the_screen():
    axes = (Axis("x", 1.0, 100.0, log=True), Axis("y", 0.0, 1000.0))
    places = [(10.0, 500.0), (12.0, 500.0)]
    assert nearest(places, (10.2, 505.0), axes) == 0
    assert nearest(places, (12.0, 520.0), axes) == 1
    assert nearest(places, (12.0, 600.0), axes) is None
    assert nearest([], (12.0, 600.0), axes) is None


@pytest.mark.optimised
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.costly] if n in ("hmc", "nuts") else []) for n in MOVES])
def test_every_inference_reaches_a_normal(name):
    which = list(DENSITIES).index("drawn")  # A normal of deviation 2 as long as nothing is drawn.
    walk = start(200, ((-5.0, 5.0), (-5.0, 5.0)), key=jax.random.key(0))
    size = {"svgd": 0.2, "ascent": 0.5}.get(name, MOVES[name].sizes[1] * 2)
    walk = advance(name, which, drawing([]), walk, size, 300, key=jax.random.key(1))
    own = 0.0 if name == "ascent" else 2.0
    np.testing.assert_allclose(walk.particles.mean(0), 0.0, atol=0.4)
    np.testing.assert_allclose(walk.particles.std(0), own, atol=0.5)
    assert int(walk.steps) == 300


def test_the_page_of_inferences_draws_what_a_user_draws():
    page = InferencePage()
    page.density.value = "drawn"
    page.count.value = "10"
    for x in (-2.0, 2.0, 2.01):
        page.figure._trigger_event(Tap(page.figure, sx=0, sy=0, x=x, y=1.0))
    assert page.centres == [(-2.0, 1.0), (2.0, 1.0)]
    values = np.asarray(page.image.data["image"][0])
    assert values.max() == 1.0
    assert values[:30].max() < 0.01
    before = np.asarray(page.walk.particles)
    page.step(2)
    assert "Step 2" in page.status.text
    assert np.abs(np.asarray(page.dots.data["x"]) - before[:, 0]).max() > 0
    page.reset()
    assert int(page.walk.steps) == 0


def test_what_cannot_be_explored_is_refused_in_a_sentence(refused):
    assert "--demo" in refused("explore")
    assert "classifier" in refused("explore", str(FIXTURES / "classifier"), "--no-browser")
    assert "policies" in refused("explore", str(FIXTURES / "policy"), "--no-browser")


def test_a_model_with_other_columns_is_no_neighbour(experts, regressor):
    with pytest.raises(InputError, match="other columns"):
        ExploreServer([experts, regressor], warmth=Ready())
