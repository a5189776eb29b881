"""The tide benchmark: its tasks, and its mixture of linear experts."""

import os
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tide_tasks import SPEEDS, TideTasks, load_tides, tide_tasks

from bmaml.errors import InputError


def table(gauges=12):
    """A made-up table: three countries, a NaN and a zero amplitude, and one gauge listed again under another country."""
    rng = np.random.default_rng(0)
    names = ("M2", "S2", "K1")
    amplitude = rng.uniform(0.1, 1.0, (gauges, 3)).astype(np.float32)
    amplitude[0, 1], amplitude[1, 2] = np.nan, 0.0
    lat = np.linspace(-50, 50, gauges).astype(np.float32)
    lat[-1] = lat[0] + 0.001  # 111 m from the first gauge, which lies in another country
    return {
        "amp_m": amplitude,
        "phase_deg": rng.uniform(0, 360, (gauges, 3)).astype(np.float32),
        "constituent": np.array(names),
        "speed_deg_per_hour": np.array([SPEEDS[n] for n in names]),
        "country": np.array(["A", "B", "C"])[np.arange(gauges) * 3 // gauges],
        "name": np.array([f"gauge {i}" for i in range(gauges)]),
        "lat": lat,
        "lon": np.zeros(gauges, np.float32),
    }


def saved(folder, **changes):
    path = folder / "tides.npz"
    np.savez(path, **{k: v for k, v in {**table(), **changes}.items() if v is not None})
    return path


@pytest.fixture
def tides(tmp_path):
    return load_tides(saved(tmp_path))


def test_heights_are_the_sum_of_constituents(tides):
    raw, t = table(), np.array([0.0, 1.5, 300.0])
    tasks = tide_tasks(tides)
    for gauge in (0, 5):
        size = np.nan_to_num(raw["amp_m"][gauge].astype(float))
        angle = np.radians(raw["speed_deg_per_hour"] * t[:, None] - raw["phase_deg"][gauge])
        height = np.asarray(tasks.height(gauge, jnp.asarray(t, float)[:, None]))[:, 0]
        np.testing.assert_allclose(height, (size * np.cos(angle)).sum(1), atol=1e-3)


def test_absent_constituents_have_no_weight(tides):
    assert tides.amplitude[0, 1] == 0
    assert tides.coefficients[1, [2, 5]].tolist() == [0.0, 0.0]
    assert np.isfinite(tides.coefficients).all()


def test_split_keeps_countries_whole_and_near_gauges_apart(tides):
    seen = set()
    for seed in range(6):
        train, test = tides.split(0.4, seed=seed)
        again = tides.split(0.4, seed=seed)[1]
        assert again.name.tolist() == test.name.tolist()
        assert not set(train.country) & set(test.country)
        both = {"gauge 0", "gauge 11"}
        assert not (both & set(train.name) and both & set(test.name))
        seen.add(str(test.country[0]))
    assert len(seen) > 1


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_split_without_two_sides_is_refused(tides, share):
    with pytest.raises(ValueError, match=r"share .* no gauges on one side"):
        tides.split(share)


def test_a_draw_is_a_pure_function_of_its_key(tides):
    tasks = tide_tasks(tides, shots=(4, 8), queries=5)
    draw = eqx.filter_jit(tasks.sample)
    one, same, other = (draw(jax.random.key(k)) for k in (1, 1, 2))
    assert (one.query.y == same.query.y).all()
    assert not (one.query.x == other.query.x).any()
    assert one.support.x.shape == (8, 1)
    assert one.query.y.shape == (5, 1)
    counts = {int(draw(jax.random.key(k)).support.count) for k in range(20)}
    assert counts == {4, 8}


def test_times_noise_and_heights_of_draws(tides):
    tasks = tide_tasks(tides.take(np.array([3])), shots=500, queries=500, noise=0.1)
    task = tasks.sample(jax.random.key(0))
    residual = task.support.y - tasks.height(0, task.support.x)
    assert 0.09 < float(residual.std()) < 0.11
    assert 0 <= float(task.query.x.min()) < 20
    assert 700 < float(task.query.x.max()) <= 720


def test_balance_draws_countries_evenly(tides):
    few = tides.take(np.array([0, 4, 5, 6, 7]))  # one gauge of A, four of B
    odds = jax.nn.softmax(tide_tasks(few, balance=1.0).log_weights)
    np.testing.assert_allclose(odds[0], 0.5, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"shots": (0, 4)}, {"shots": ()}, {"queries": 0}])
def test_no_shots_or_queries_is_refused(tides, settings):
    with pytest.raises(ValueError, match="at least 1"):
        tide_tasks(tides, **settings)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amp_m": None}, "lacks amp_m"),
        ({"amp_m": np.zeros((12, 2))}, "12|gauges x 3"),
        ({"amp_m": np.full((12, 3), -1.0)}, "amp_m must lie"),
        ({"amp_m": np.full((12, 3), 300.0)}, "amp_m must lie"),
        ({"phase_deg": np.full((12, 3), np.inf)}, "phase_deg be finite"),
        ({"speed_deg_per_hour": np.array([28.9841042, 30.0, 15.1])}, "K1 has speed 15.1"),
        ({"speed_deg_per_hour": np.array([28.9841042, 30.0, np.nan])}, "K1 has speed nan"),
        ({"speed_deg_per_hour": np.array([28.9841042, 30.0])}, "each constituent once"),
        ({"constituent": np.array(["M2", "S2", "X9"])}, "'X9'"),
        ({"lat": np.zeros(3)}, "one row a gauge"),
        ({"country": np.array([{}] * 12)}, "cannot be read"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(tmp_path, changes, says):
    with pytest.raises(InputError, match=says) as error:
        load_tides(saved(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="no file"):
        load_tides(tmp_path / "absent.npz")
    whole = saved(tmp_path).read_bytes()
    for content in (b"", b"not an archive", whole[: len(whole) // 2], whole[:-200] + bytes(200)):
        path = tmp_path / "damaged.npz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"damaged\.npz"):
            load_tides(path)


def test_the_real_file():
    folder = os.environ.get("BMAML_DATA")
    path = Path(folder or "") / "tides" / "tide_constituents.npz"
    if not folder or not path.exists():
        pytest.skip("set BMAML_DATA to a folder that holds tides/tide_constituents.npz")
    tides = load_tides(path)
    assert len(tides) > 4000
    assert set(tides.constituent) == set(SPEEDS)
    train, test = tides.split(seed=0)
    assert not set(train.country) & set(test.country)
    assert 0.05 < len(test) / len(tides) < 0.1
    assert train._distance(test).min() > 1.0
    assert isinstance(tide_tasks(test), TideTasks)
