"""Predict the tide at gauges of unseen countries from a few readings: every method on the same split, with intervals.

    python benchmarks/real/tides.py --data DIR --out results/tides

DIR holds `tides/tide_constituents.npz` (NOAA and TICON-4: amplitude and phase of 37 constituents at 4,939 gauges). A task
is a gauge: K readings at uniform times in 0..720 h with 2 cm noise are given, and the height at 200 other times is to be
predicted. Errors are against the noise-free height, and NLL and coverage against noisy readings. To add a method, write
`fit(train) -> predictor` as in `baselines_tides.py` and give it a name in METHODS below.
"""

from typing import NamedTuple

import baselines_tides as baselines
import experts_tides
import numpy as np
from learning_curves import Question, arguments, located, run

METHODS = {
    "gaussian_process": baselines.gaussian_process,
    "ridge": baselines.ridge,
    "gaussian": baselines.gaussian,
    "mixture": baselines.mixture,
    "experts": experts_tides.experts,
    "experts_trained": experts_tides.experts_trained,
}
SLOW = ("gaussian_process", "experts_trained")  # minutes a fold: run only when named in --methods

SHOTS = (8, 16, 32)
HOURS = 720.0
QUERIES = 200
ALWAYS_TRAIN = "United States"  # six gauges in ten: held out, it would leave too little to learn from
APART = 5.0  # km


class Gauges(NamedTuple):
    """A set of gauges; height(t) = sum_i a_i cos(speed_i t) + b_i sin(speed_i t) with coefficients (g, 2c) = [a, b]."""

    coefficients: np.ndarray
    country: np.ndarray  # (g,)
    place: np.ndarray  # (g, 3), km from the centre of the Earth
    speeds: np.ndarray  # (c,), degrees per hour
    names: np.ndarray  # (c,)

    def pick(self, which) -> "Gauges":
        """The gauges selected by a mask or an index array."""
        return self._replace(coefficients=self.coefficients[which], country=self.country[which], place=self.place[which])


class Readings(NamedTuple):
    """Heights y (n,) in m, read at hours t (n,)."""

    t: np.ndarray
    y: np.ndarray


def load(path) -> Gauges:
    """All gauges; a constituent that is NaN or has no amplitude is absent, which is to say zero."""
    file = np.load(path)
    size, phase = np.nan_to_num(file["amp_m"]).astype(float), np.radians(np.nan_to_num(file["phase_deg"]).astype(float))
    lat, lon = np.radians(file["lat"]), np.radians(file["lon"])
    place = 6371.0 * np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    coefficients = np.concatenate([size * np.cos(phase), size * np.sin(phase)], 1)
    return Gauges(coefficients, file["country"], place, file["speed_deg_per_hour"], file["constituent"])


def questions(test: Gauges, rng_key: tuple, draws: int):
    """Every gauge, `draws` times over; the first 8 and 16 of 32 readings make the smaller contexts."""
    for g, coefficients in enumerate(test.coefficients):
        for draw in range(draws):
            rng = np.random.default_rng((*rng_key, g, draw))
            t, queries = rng.uniform(0, HOURS, max(SHOTS)), rng.uniform(0, HOURS, QUERIES)
            height = baselines.waves(np.concatenate([t, queries]), test.speeds) @ coefficients
            noisy = height + baselines.NOISE * rng.standard_normal(len(height))
            for k in SHOTS:
                clean, read = height[len(t) :], noisy[len(t) :]
                yield Question(k, str(test.country[g]), Readings(t[:k], noisy[:k]), queries, clean, read)


def country_folds(gauges: Gauges, seed: int, count: int = 5) -> list[list[str]]:
    """Countries in `count` lists with about as many gauges each: largest first, into the emptiest list."""
    names, sizes = np.unique(gauges.country, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    parts: list[list[str]] = [[] for _ in range(count)]
    filled = np.zeros(count)
    for i in sorted(order, key=lambda i: -sizes[i]):
        if names[i] != ALWAYS_TRAIN:
            emptiest = int(np.argmin(filled))
            parts[emptiest].append(str(names[i]))
            filled[emptiest] += sizes[i]
    return parts


def folds(gauges: Gauges, seed: int, draws: int = 5, thin: int = 1):
    """Five (train, questions) pairs, by country."""
    from scipy.spatial import KDTree

    for i, countries in enumerate(country_folds(gauges, seed)):
        held = np.isin(gauges.country, countries)
        # Some gauges are listed twice, under two countries (Suva: Fiji, United States): nothing near a held one trains.
        near = KDTree(gauges.place[held]).query(gauges.place)[0] < APART
        test = gauges.pick(np.flatnonzero(held)[::thin])
        yield gauges.pick(~held & ~near), lambda test=test, i=i: questions(test, (seed, i), draws)


def main() -> None:
    """Load, split, measure."""
    args = arguments(__doc__ or "", METHODS, [m for m in METHODS if m not in SLOW])
    source = located(args.data, "tides/tide_constituents.npz")
    draws, thin = (1, 8) if args.quick else (5, 1)
    run("Tides at gauges of unseen countries", METHODS, source, list(folds(load(source), args.seed, draws, thin)), args)


if __name__ == "__main__":
    main()
