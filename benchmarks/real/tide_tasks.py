"""Tide gauges: real tasks that are sums of known harmonics, the measured counterpart of the sinusoid.

A gauge is a task, h(t) = sum_i amplitude_i cos(speed_i t - phase_i), with t in hours and h in metres about mean level.
The file is not part of the package: a NumPy archive of amplitudes and phases, one row a gauge, loaded from a given path.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from os import PathLike

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from bmaml.data import Data, Task
from bmaml.errors import InputError
from bmaml.tasks.base import AbstractTasks, draw_shots
from bmaml.tasks.shots import Shots, shot_counts

# Degrees an hour, as NOAA CO-OPS and the IHO list them.
SPEEDS: dict[str, float] = {
    "M2": 28.9841042, "S2": 30.0, "N2": 28.4397295, "K1": 15.0410686, "M4": 57.9682084, "O1": 13.9430356,
    "M6": 86.9523127, "MK3": 44.0251729, "S4": 60.0, "MN4": 57.4238337, "NU2": 28.5125831, "S6": 90.0,
    "MU2": 27.9682084, "2N2": 27.8953548, "OO1": 16.1391017, "LAM2": 29.4556253, "S1": 15.0, "M1": 14.4966939,
    "J1": 15.5854433, "MM": 0.5443747, "SSA": 0.0821373, "SA": 0.0410686, "MSF": 1.0158958, "MF": 1.0980331,
    "RHO": 13.4715145, "Q1": 13.3986609, "T2": 29.9589333, "R2": 30.0410667, "2Q1": 12.8542862, "P1": 14.9589314,
    "2SM2": 31.0158958, "M3": 43.4761563, "L2": 29.5284789, "2MK3": 42.9271398, "K2": 30.0821373,
    "M8": 115.9364166, "MS4": 58.9841042,
}  # fmt: skip

_FIELDS = ("amp_m", "phase_deg", "constituent", "speed_deg_per_hour", "country", "name", "lat", "lon")
_SPEED_TOLERANCE = 1e-5  # degrees an hour: 0.007 degrees of phase after 30 days
_EARTH_KM = 6371.0
_DEEPEST_M = 20.0  # no tide on Earth has a constituent anywhere near this: larger is a unit error or a damaged file


@dataclasses.dataclass(frozen=True)
class Tides:
    """Harmonic constants of gauges, one row each, on the host.

    `amplitude` is in metres and `phase` in radians, both `(gauges, constituents)`, amplitude 0 where a constituent is
    absent; `speed` is in radians an hour; `lat` and `lon` are in degrees.
    """

    amplitude: np.ndarray
    phase: np.ndarray
    speed: np.ndarray
    constituent: tuple[str, ...]
    country: np.ndarray
    name: np.ndarray
    lat: np.ndarray
    lon: np.ndarray

    def __len__(self) -> int:
        return len(self.amplitude)

    @property
    def coefficients(self) -> np.ndarray:
        """Weights in metres `(gauges, 2 constituents)` of the basis cos(speed_i t), then sin(speed_i t)."""
        return np.concatenate([self.amplitude * np.cos(self.phase), self.amplitude * np.sin(self.phase)], 1)

    def take(self, rows: np.ndarray) -> Tides:
        """Return the gauges that an index or a boolean mask picks."""
        picked = {k: getattr(self, k)[rows] for k in ("amplitude", "phase", "country", "name", "lat", "lon")}
        return dataclasses.replace(self, **picked)

    def split(self, share: float = 0.1, seed: int = 0, apart: float = 1.0) -> tuple[Tides, Tides]:
        """Return `(train, test)`: whole countries, in an order drawn from `seed`, fill the test side up to `share` of all.

        Some gauges stand twice in the table under two countries (an overseas territory and its state), so those of the
        training side within `apart` kilometres of a test gauge are dropped.
        Raises: ValueError if `share` leaves one side empty.
        """
        test = self._countries(share, seed)
        if not test.any() or test.all():
            raise ValueError(f"share {share} leaves no gauges on one side of the split: give a share in between.")
        train, held = self.take(~test), self.take(test)
        return train.take(train._distance(held) > apart), held

    def _countries(self, share: float, seed: int) -> np.ndarray:
        """Return which gauges lie in the countries that fit, one after the other, into `share` of the gauges."""
        room = share * len(self)
        chosen = []
        for country in np.random.default_rng(seed).permutation(np.unique(self.country)):
            size = (self.country == country).sum()
            if size <= room:
                chosen.append(country)
                room -= size
        return np.isin(self.country, chosen)

    def _distance(self, other: Tides) -> np.ndarray:
        """Return each gauge's distance in kilometres to the nearest of `other`."""
        chord = np.stack([((a[:, None] - b) ** 2) for a, b in zip(self._place(), other._place(), strict=True)]).sum(0)
        return 2 * _EARTH_KM * np.arcsin(np.clip(np.sqrt(chord.min(1)) / 2, 0, 1))

    def _place(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lat, lon = np.radians(self.lat.astype(float)), np.radians(self.lon.astype(float))
        return np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)


def load_tides(path: str | PathLike) -> Tides:
    """Return the gauges of a NumPy archive with amplitudes (m), phases (degrees) and speeds (degrees an hour).

    Raises: InputError, in one sentence, where the file is missing, damaged or not such a table.
    """
    raw = _read(path)
    constituent = tuple(str(name) for name in raw["constituent"])
    _check_speeds(path, constituent, raw["speed_deg_per_hour"])
    _check_shapes(path, raw)
    amplitude, phase = raw["amp_m"].astype(float), np.radians(raw["phase_deg"].astype(float))
    absent = np.isnan(amplitude) | np.isnan(phase) | (amplitude == 0)
    amplitude, phase = np.where(absent, 0.0, amplitude), np.where(absent, 0.0, phase)
    if not np.isfinite(amplitude + phase).all() or amplitude.min() < 0 or amplitude.max() > _DEEPEST_M:
        raise InputError(f"{path}: amp_m must lie in 0 to {_DEEPEST_M:g} m and phase_deg be finite, NaN where absent.")
    speed = np.radians([SPEEDS[name] for name in constituent])
    return Tides(amplitude, phase, speed, constituent, raw["country"], raw["name"], raw["lat"], raw["lon"])


def _read(path: str | PathLike) -> dict[str, np.ndarray]:
    try:
        # Opened here, since np.load leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in _FIELDS if name not in archive.files]
            raw = {} if missing else {name: archive[name] for name in _FIELDS}
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: check the path.") from None
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{path} cannot be read as a NumPy archive (.npz); it may be damaged: {error}") from error
    if missing:
        raise InputError(f"{path} is no table of tide gauges: it lacks {', '.join(missing)}.")
    return raw


def _check_speeds(path: str | PathLike, constituent: Sequence[str], speeds: np.ndarray) -> None:
    if len(constituent) != len(speeds) or not len(speeds) or len(set(constituent)) != len(constituent):
        raise InputError(f"{path}: constituent and speed_deg_per_hour must name each constituent once, with its speed.")
    for name, speed in zip(constituent, speeds, strict=True):
        if name not in SPEEDS:
            raise InputError(f"{path}: constituent {name!r} is not among the {len(SPEEDS)} standard ones.")
        if not abs(speed - SPEEDS[name]) <= _SPEED_TOLERANCE:
            raise InputError(f"{path}: {name} has speed {speed} degrees an hour where the standard is {SPEEDS[name]}.")


def _check_shapes(path: str | PathLike, raw: dict[str, np.ndarray]) -> None:
    gauges, kinds = len(raw["country"]), len(raw["constituent"])
    table = all(raw[name].shape == (gauges, kinds) for name in ("amp_m", "phase_deg"))
    if not gauges or not table or any(raw[name].shape != (gauges,) for name in ("name", "lat", "lon")):
        raise InputError(f"{path}: amp_m and phase_deg must be gauges x {kinds} constituents, the rest one row a gauge.")


class TideTasks(AbstractTasks):
    """A gauge at random, observed at one of `shots` counts of times uniform in `hours`, with `noise` metres of noise.

    Inputs are hours `(n, 1)`, targets metres `(n, 1)`, both support and query noisy. `coefficients` `(gauges, 2 c)` are
    metres on cos, then sin, of `speed` `(c,)` radians an hour; a gauge is drawn with the odds exp(`log_weights`).
    Raises: ValueError for shots or queries below 1.
    """

    coefficients: Float[Array, "gauges basis"]
    speed: Float[Array, " constituents"]
    log_weights: Float[Array, " gauges"]
    shots: tuple[int, ...] = eqx.field(static=True, default=(8, 16, 32))
    queries: int = eqx.field(static=True, default=32)
    hours: float = eqx.field(static=True, default=720.0)
    noise: float = eqx.field(static=True, default=0.02)

    def __check_init__(self):
        if min(self.shots, default=0) < 1 or self.queries < 1:
            raise ValueError(f"shots {self.shots} and queries {self.queries}: give at least 1 of each.")

    @property
    def inputs(self):
        return 1

    @property
    def outputs(self):
        return 1

    def height(self, gauge: Int[Array, ""] | int, t: Float[Array, "n 1"]) -> Float[Array, "n 1"]:
        """Return the noise-free heights of a gauge, in metres, at hours `t`."""
        angle = t * self.speed[None]
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], 1) @ self.coefficients[gauge][:, None]

    def points(self, gauge: Int[Array, ""] | int, key: PRNGKeyArray, count: int) -> Data:
        """Return `count` noisy heights of a gauge."""
        time_key, noise_key = jax.random.split(key)
        t = jax.random.uniform(time_key, (count, 1), maxval=self.hours)
        y = self.height(gauge, t) + self.noise * jax.random.normal(noise_key, t.shape)
        return Data(t, y, jnp.ones(count, t.dtype))

    @property
    def limits(self):
        return None

    def sized(self, shots, queries):
        return dataclasses.replace(self, shots=shot_counts(shots), queries=queries)

    def truth(self, key, x):
        return self.height(jax.random.categorical(jax.random.split(key, 4)[0], self.log_weights), x)

    def sample(self, key):
        gauge_key, support_key, query_key, shot_key = jax.random.split(key, 4)
        gauge = jax.random.categorical(gauge_key, self.log_weights)
        most = max(self.shots)
        support, query = self.points(gauge, support_key, most), self.points(gauge, query_key, self.queries)
        if len(self.shots) > 1:
            there = jnp.arange(most) < draw_shots(shot_key, self.shots)
            support = Data(support.x, support.y, support.mask * there.astype(support.mask.dtype))
        return Task(support, query)


def tide_tasks(
    gauges: Tides, shots: Shots = (8, 16, 32), queries: int = 32, *, balance: float = 0.0, **settings: float
) -> TideTasks:
    """Return the task source of gauges; `settings` are `hours` and `noise` of `TideTasks`.

    A gauge's odds are its country's gauge count to the power of minus `balance`: 0 draws gauges evenly, 1 countries evenly.
    """
    _, place, count = np.unique(gauges.country, return_inverse=True, return_counts=True)
    odds = jnp.asarray(-balance * np.log(count[place]), float)
    return TideTasks(
        jnp.asarray(gauges.coefficients, float),
        jnp.asarray(gauges.speed, float),
        odds,
        shot_counts(shots, least=1),
        queries,
        **settings,
    )
