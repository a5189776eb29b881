"""The Bayes-optimal predictor of the sinusoid families. It knows the prior, so no learner can beat it.

Given frequency w and phase phi, the rest is Gaussian. With noise relative to the amplitude, y = A (s + r e) with s = sin(w
x - phi), so s = u y - r e in u = 1 / A. This is a linear fit of s on y, with a weight u^(n - 2) from the noise's
normalisation (u^n) and from uniform A (dA = u^-2 du). With absolute noise, y is linear in A. So the amplitude is integrated
in closed form, and (w, phi) on a grid. A line is one more linear fit for each slope. The posterior on the grid is then
compressed to components that are drawn in proportion: one cell from each equal share of the probability, and in each cell a
point and an amplitude from its conditional along a low-discrepancy sequence. The weight of a component is the exact density
at the point over the density of the grid.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr, ndtri
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.data import Data
from bmaml.distributions import Mixture, Normal
from bmaml.errors import InputError
from bmaml.inference.posteriors import AbstractNoisePosterior
from bmaml.io.registry import register
from bmaml.learners.base import AbstractLearner
from bmaml.tasks.sinusoid import Range, Sinusoids, Wave

# Range of a line's slope and of its intercept in `Sinusoids`.
_LINE: Range = (-3.0, 3.0)
# Half-width of a local grid of phases, in standard deviations.
_REACH = 5.0
# The generalised golden ratio of four dimensions, root of g^5 = g + 1: steps of (1/g, ..., 1/g^4) fill the cube evenly.
_GOLDEN = 1.1673039782614187
# Cells evaluated at once: few enough to fit the cache.
_CHUNK = 4096


class WavePosterior(AbstractNoisePosterior):
    """Functions of the family (`waves`) with weights; the predictive is the mixture of their noisy values.

    `log_weights` need not be normalised.
    """

    waves: Wave
    log_weights: Float[Array, " picks"]

    def predict(self, x):
        components = jax.vmap(lambda wave: Normal(wave(x), wave.noise[None, None]))(self.waves)
        return Mixture(self.log_weights, components)

    def noise_entropy(self, x):
        each = 0.5 * jnp.log(2 * jnp.pi * jnp.e * self.waves.noise**2)
        return jnp.full(len(x), jax.nn.softmax(self.log_weights) @ each)

    def sample_functions(self, x, *, key, count=1):
        weights = jax.nn.softmax(self.log_weights)
        picked = jax.random.choice(key, len(weights), (count,), p=weights)
        return jax.vmap(lambda wave: wave(x))(jax.tree.map(lambda leaf: leaf[picked], self.waves))


class Cells(eqx.Module):
    """Grid over the parameters that are not linear: `frequency` and `phase` of a wave, or `slope` of a `line`; or one cell.

    `log_prior` is the log prior mass of each cell, and `sides` are the full widths of a cell in frequency, phase and slope.
    """

    frequency: Float[Array, "*cells"]
    phase: Float[Array, "*cells"]
    slope: Float[Array, "*cells"]
    line: Float[Array, "*cells"]
    log_prior: Float[Array, "*cells"]
    sides: Float[Array, "*cells 3"]


class Conditional(eqx.Module):
    """Truncated normal of the linear parameter (1 / A, A, or a line's intercept) in each cell, and the log evidence.

    Of one cell, all are scalars.

    - `centre`, `deviation`: mean and standard deviation before truncation.
    - `low`, `high`: the truncation.
    - `log_evidence`: log evidence of the cell.
    """

    centre: Float[Array, "*cells"]
    deviation: Float[Array, "*cells"]
    low: Float[Array, "*cells"]
    high: Float[Array, "*cells"]
    log_evidence: Float[Array, "*cells"]

    @property
    def ends(self) -> tuple[Array, Array]:
        """Return the truncation in standard deviations from the centre."""
        return (self.low - self.centre) / self.deviation, (self.high - self.centre) / self.deviation


@register("learner/bayes-optimal")
class BayesOptimal(AbstractLearner):
    """The exact posterior of a sinusoid family, as a learner without meta-parameters (`init` returns None).

    The noise is either relative or absolute, and lines need absolute noise. The defaults serve 1 to about 100 shots at 1%
    noise. Double all four counts to see the error of the grid.

    - `family`: the family.
    - `frequencies`: grid over the prior's range; by default 2,048 with relative noise and 256 with absolute.
    - `phases`: grid for each frequency; by default 2 x 24 around the two best fits with relative noise, and 512 over the range
      with absolute.
    - `slopes`: grid for lines.
    - `components`: components of the predictive mixture.

    Raises: InputError for a family without noise or with both kinds, for lines with relative noise, for a range of amplitudes
    or phases of no width, for phases over more than a turn, or for a grid too coarse for the noise.
    """

    family: Sinusoids
    frequencies: int | None = eqx.field(static=True, default=None)
    phases: int | None = eqx.field(static=True, default=None)
    slopes: int = eqx.field(static=True, default=512)
    components: int = eqx.field(static=True, default=4096)

    def __check_init__(self):
        _check_family(self.family)
        if min(self.frequency_count, self.phase_count, self.slopes, self.components) < 1:
            raise InputError("every count of grid points and components must be at least 1.")
        _check_grid(self.family, self.frequency_count, self.phase_count)

    @property
    def relative(self) -> bool:
        """Whether the noise is relative to the amplitude."""
        return self.family.relative_noise > 0

    @property
    def frequency_count(self) -> int:
        """Number of frequencies of the grid: one if the family has only one."""
        low, high = self.family.frequency
        return 1 if low == high else self.frequencies or (2048 if self.relative else 256)

    @property
    def phase_count(self) -> int:
        """Number of phases of the grid (with relative noise, of each of the two local grids)."""
        return self.phases or (24 if self.relative else 512)

    def init(self, key: PRNGKeyArray) -> None:
        return None

    def adapt(self, meta: None, support: Data, *, key: PRNGKeyArray | None = None) -> WavePosterior:
        cells = self._local_cells(support) if self.relative else self._global_cells()
        log_grid = jax.lax.map(lambda c: self._condition(c, support).log_evidence, cells, batch_size=_CHUNK)
        levels = _levels(self.components)
        picks = _stratified(log_grid, levels[:, 3])
        cells = _moved(jax.tree.map(lambda leaf: leaf[picks], cells), levels[:, :2] - 0.5)
        conditional = jax.vmap(lambda c: self._condition(c, support))(cells)
        value, log_weights = _draw(conditional, levels[:, 2]), conditional.log_evidence - log_grid[picks]
        if not self.relative:
            return WavePosterior(self._absolute_waves(cells, value), log_weights)
        # The evidence has u^(n - 2) at the conditional's centre. This corrects it to the value drawn.
        centre = jnp.clip(conditional.centre, conditional.low, conditional.high)
        log_weights = log_weights + (support.count - 2) * (jnp.log(value) - jnp.log(centre))
        amplitude, zero = 1 / value, jnp.zeros_like(value)
        waves = Wave(amplitude, cells.frequency, cells.phase, zero, zero, self.family.relative_noise * amplitude)
        return WavePosterior(waves, log_weights)

    def _absolute_waves(self, cells: Cells, value: Array) -> Wave:
        amplitude, intercept = value * (1 - cells.line), value * cells.line
        noise = jnp.full_like(value, self.family.noise)
        return Wave(amplitude, cells.frequency, cells.phase, cells.slope, intercept, noise)

    def _local_cells(self, support: Data) -> Cells:
        """Phases within 5 standard deviations of the best fit of each frequency, and of its mirror half a turn away."""
        frequency = _midpoints(self.family.frequency, self.frequency_count)
        best, deviation = _best_phases(frequency, support, self.family.relative_noise)
        half = jnp.minimum(_REACH * deviation, jnp.pi / 2)
        offsets = _midpoints((-1.0, 1.0), self.phase_count)
        phase = best[:, None] + half[:, None] * jnp.concatenate([offsets, offsets])[None]
        phase = phase + jnp.pi * jnp.repeat(jnp.arange(2.0), self.phase_count)[None]
        low, high = self.family.phase
        phase = low + jnp.mod(phase - low, 2 * jnp.pi)
        # On the full circle no phase is outside, even if rounding says so.
        inside = (phase <= high) | (high - low > 2 * jnp.pi - 1e-5)
        log_prior = jnp.where(inside, jnp.log(half)[:, None], -jnp.inf)
        side = jnp.broadcast_to(2 * half[:, None] / self.phase_count, phase.shape).ravel()
        frequency = jnp.broadcast_to(frequency[:, None], phase.shape).ravel()
        zero = jnp.zeros(phase.size)
        sides = jnp.stack([jnp.full_like(side, self._spacing), side, zero], -1)
        return Cells(frequency, phase.ravel(), zero, zero, log_prior.ravel(), sides)

    def _global_cells(self) -> Cells:
        """Every frequency with every phase and, for a family with lines, every slope."""
        frequency = _midpoints(self.family.frequency, self.frequency_count)
        phase = _midpoints(self.family.phase, self.phase_count)
        frequency, phase = (grid.ravel() for grid in jnp.meshgrid(frequency, phase, indexing="ij"))
        waves, lines = frequency.size, self.slopes if self.family.lines > 0 else 0
        line = jnp.repeat(jnp.arange(2.0), jnp.array([waves, lines]), total_repeat_length=waves + lines)
        log_prior = jnp.where(line > 0, self._log_mass(True), self._log_mass(False))
        slope = jnp.pad(_midpoints(_LINE, self.slopes)[:lines], (waves, 0))
        low, high = self.family.phase
        side = jnp.array([self._spacing, (high - low) / self.phase_count, (_LINE[1] - _LINE[0]) / self.slopes])
        sides = jnp.broadcast_to(side, (waves + lines, 3))
        return Cells(jnp.pad(frequency, (0, lines)), jnp.pad(phase, (0, lines)), slope, line, log_prior, sides)

    @property
    def _spacing(self) -> float:
        low, high = self.family.frequency
        return (high - low) / self.frequency_count

    def _log_mass(self, line: bool) -> float:
        """Log prior mass of one cell per unit of its linear parameter."""
        low, high = _LINE if line else self.family.amplitude
        count = self.slopes if line else self.frequency_count * self.phase_count
        share = self.family.lines if line else 1 - self.family.lines
        return math.log(share / count / (high - low)) if share > 0 else -math.inf

    def _condition(self, cell: Cells, support: Data) -> Conditional:
        """Return the conditional of the linear parameter in one cell."""
        x, y = support.x[:, 0], support.y[:, 0] * support.mask
        sine = jnp.sin(cell.frequency * x - cell.phase)
        if self.relative:
            low, high = (jnp.full_like(cell.line, 1 / end) for end in reversed(self.family.amplitude))
            fit = _fit(y, sine * support.mask, self.family.relative_noise, high - low)
            return _truncate(*fit, low, high, support.count - 2, cell.log_prior)
        low, high = (jnp.where(cell.line > 0, a, b) for a, b in zip(_LINE, self.family.amplitude, strict=True))
        regressor = jnp.where(cell.line > 0, 1.0, sine) * support.mask
        target = y - cell.slope * cell.line * x * support.mask
        fit = _fit(regressor, target, self.family.noise, high - low)
        return _truncate(*fit, low, high, jnp.zeros(()), cell.log_prior)


def _check_family(family: Sinusoids) -> None:
    if family.relative_noise <= 0 and family.noise <= 0:
        raise InputError(
            "BayesOptimal needs noise because exact points leave no density to integrate; give the family a "
            "`relative_noise` or a `noise`, such as relative_noise=0.01."
        )
    if family.relative_noise > 0 and (family.noise > 0 or family.lines > 0):
        raise InputError(
            "BayesOptimal needs noise that is either relative or absolute, and absolute for lines, because the amplitude "
            "is integrated in closed form; set relative_noise=0 or use `noise` = 0 and `lines` = 0."
        )
    if family.amplitude[0] >= family.amplitude[1] or family.phase[0] >= family.phase[1] or family.amplitude[0] < 0:
        raise InputError("BayesOptimal needs ranges with some width, of amplitudes from 0 up and of phases.")
    if family.relative_noise > 0 and family.amplitude[0] == 0:
        raise InputError("BayesOptimal with relative noise needs amplitudes above 0: at 0 the density is infinite.")
    if family.phase[1] - family.phase[0] > 2 * math.pi + 1e-5:
        raise InputError("BayesOptimal needs phases within one turn; give a range of at most 2 pi.")


def _check_grid(family: Sinusoids, frequencies: int, phases: int) -> None:
    """Refuse a spacing above half of what the noise resolves at one point of the largest amplitude."""
    ratio = family.relative_noise or family.noise / family.amplitude[1]
    reach = max(abs(end) for end in family.domain)
    need = math.ceil(2 * (family.frequency[1] - family.frequency[0]) * reach / ratio)
    if need > frequencies:
        raise InputError(f"{frequencies} frequencies are too few for this noise: give `frequencies` of at least {need}.")
    need = math.ceil(2 * (family.phase[1] - family.phase[0]) / ratio)
    if family.relative_noise == 0 and need > phases:
        raise InputError(f"{phases} phases are too few for this noise: give `phases` of at least {need}.")


def _midpoints(ends: Range, count: int) -> Float[Array, " count"]:
    return ends[0] + (ends[1] - ends[0]) * (jnp.arange(count, dtype=float) + 0.5) / count


def _best_phases(frequency: Array, support: Data, noise: float) -> tuple[Array, Array]:
    """Return for each frequency the phase of least misfit and its standard deviation.

    After projecting out what y explains, the residual is p cos(phi) - q sin(phi) at each point, so the misfit is least + spread
    sin^2(phi - best).
    """
    x, y = support.x[:, 0], support.y[:, 0] * support.mask
    y = y / jnp.sqrt(jnp.maximum((y**2).sum(), 1e-30))
    angle = frequency[:, None] * x[None]
    p, q = (wave(angle) * support.mask[None] for wave in (jnp.sin, jnp.cos))
    p, q = (part - (part @ y)[:, None] * y[None] for part in (p, q))
    even, odd = 0.5 * (p**2 - q**2).sum(-1), (p * q).sum(-1)
    spread = 2 * jnp.hypot(even, odd)
    return 0.5 * (jnp.pi - jnp.arctan2(odd, even)), noise / jnp.sqrt(jnp.maximum(spread, 1e-12))


def _fit(regressor: Array, target: Array, noise: float, width: Array) -> tuple[Array, Array, Array]:
    """Return slope, its standard deviation and the log-likelihood at the slope, of target = slope regressor + noise."""
    # Without data the deviation stops at 100 widths of the prior's range, where it is flat enough.
    square = jnp.maximum((regressor**2).sum(), (noise / (100 * width)) ** 2)
    slope = (regressor * target).sum() / square
    misfit = ((target - slope * regressor) ** 2).sum()
    return slope, noise / jnp.sqrt(square), -0.5 * misfit / noise**2


def _truncate(slope, deviation, log_peak, low, high, power, log_prior) -> Conditional:
    """Return the conditional cut to [low, high], with the evidence weighted by slope^power at its centre."""
    found = Conditional(slope, deviation, low, high, log_peak)
    below, above = found.ends
    below, above = jnp.where(below > 0, -above, below), jnp.where(below > 0, -below, above)
    log_above = log_ndtr(above)
    log_mass = log_above + jnp.log1p(-jnp.exp(log_ndtr(below) - log_above))
    log_centre = jnp.where(power == 0, 0.0, power * jnp.log(jnp.clip(slope, low, high)))
    log_evidence = log_peak + jnp.log(deviation) + log_mass + log_centre + log_prior
    return Conditional(slope, deviation, low, high, log_evidence)


def _levels(count: int) -> Float[Array, "count 4"]:
    """Return evenly spread points of the unit cube (Roberts's sequence)."""
    steps = _GOLDEN ** -np.arange(1.0, 5.0)
    return jnp.asarray(np.modf((np.arange(count)[:, None] + 0.5) * steps)[0], jnp.zeros(()).dtype)


def _stratified(log_weights: Float[Array, " cells"], level: Float[Array, " picks"]) -> Array:
    """Return one cell index for each of `picks` equal shares of the weight, `level` of the way into the share.

    With one level for all shares, frequencies of equal weight would all get the same phase.
    """
    # In whole numbers the running sum is exact. With rounding it would grow at cells of no weight, and pick them.
    total = jnp.cumsum((jax.nn.softmax(log_weights) * 2.0**30).astype(jnp.int32))
    count = len(level)
    place = ((jnp.arange(count, dtype=level.dtype) + level) / count * total[-1].astype(level.dtype)).astype(jnp.int32)
    return jnp.searchsorted(total, jnp.minimum(place, total[-1] - 1), side="right")


def _moved(cells: Cells, shift: Float[Array, "cells 2"]) -> Cells:
    """Return points inside cells, `shift` sides away from the centres. Waves and lines use the same two shifts."""
    frequency = cells.frequency + shift[:, 0] * cells.sides[:, 0]
    phase = cells.phase + shift[:, 1] * cells.sides[:, 1]
    slope = (cells.slope + shift[:, 0] * cells.sides[:, 2]) * cells.line
    return Cells(frequency, phase, slope, cells.line, cells.log_prior, cells.sides)


def _draw(conditional: Conditional, level: Array) -> Float[Array, " picks"]:
    """Return the quantile of each truncated normal at a level."""
    below, above = conditional.ends
    # float32 keeps its digits in the lower tail, so a cut above the centre is mirrored.
    mirror = below > 0
    below, above = jnp.where(mirror, -above, below), jnp.where(mirror, -below, above)
    z = jnp.clip(ndtri(ndtr(below) + level * (ndtr(above) - ndtr(below))), below, above)
    value = conditional.centre + conditional.deviation * jnp.where(mirror, -z, z)
    return jnp.clip(value, conditional.low, conditional.high)
