"""What people use to extrapolate a learning curve: one small `fit(train) -> predictor` each.

`train` is a list of curves with `.x` (r,) = log2 of the training-set size, `.y` (r,) = error rate and `.learner`;
`predictor(context, queries)` takes a curve of n rows and query positions (q,) and returns a `Prediction`.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special

SHOTS = (4, 6, 8)
SMALLEST_SD = 1e-3  # error rates are averages over a few splits: no prediction claims to know one better than this


# --- predictions -----------------------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    """A mean (q,), `log_prob(y)` (q,) in nats and `interval(level)` -> two (q,); the last two are None for a point."""

    mean: np.ndarray
    log_prob: Any = None
    interval: Any = None


def normal(mean, sd) -> Prediction:
    """Gaussian with mean (q,) and standard deviation (q,)."""

    def log_prob(y):
        return -0.5 * ((y - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)

    def interval(level):
        half = special.ndtri(0.5 + level / 2) * sd
        return mean - half, mean + half

    return Prediction(mean, log_prob, interval)


def student_t(mean, scale, df) -> Prediction:
    """Student-t with location (q,), scale (q,) and degrees of freedom; the location stands in for the mean."""
    constant = special.gammaln((df + 1) / 2) - special.gammaln(df / 2) - 0.5 * np.log(df * np.pi)

    def log_prob(y):
        return constant - np.log(scale) - (df + 1) / 2 * np.log1p(((y - mean) / scale) ** 2 / df)

    def interval(level):
        half = special.stdtrit(df, 0.5 + level / 2) * scale
        return mean - half, mean + half

    return Prediction(mean, log_prob, interval)


# --- points without a density ----------------------------------------------------------------------------------------


def last_value(train):
    """The error stays where it was last seen."""
    return lambda context, queries: Prediction(np.full(len(queries), context.y[-1]))


def power_law(train):
    """Bounded least squares of a + b n^-c on the context alone, 0 <= a, b <= 1 at the first row, 0 <= c <= 2."""

    def curve(steps, a, b, c):
        return a + b * 2.0 ** (-c * steps)

    def predict(context, queries):
        # Counting sizes from the first row keeps b of order one, so the three parameters share a scale.
        steps, start = context.x - context.x[0], (max(context.y[-1], 0.0), 0.1, 0.5)
        found = optimize.least_squares(
            lambda p: curve(steps, *p) - context.y, np.clip(start, 1e-3, 0.999), bounds=((0, 0, 0), (1, 1, 2))
        )
        return Prediction(curve(queries - context.x[0], *found.x))

    return predict


# --- mixed linear model ----------------------------------------------------------------------------------------------


def mixed_linear(train):
    """Random intercept and slope in log2(size), fitted by REML (statsmodels), conditioned on the context exactly."""
    from statsmodels.regression.mixed_linear_model import MixedLM  # imported here: slow, and only this needs it

    design = np.concatenate([_line(c.x) for c in train])
    groups = np.repeat(np.arange(len(train)), [len(c.x) for c in train])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a boundary warning of one fold would bury the table
        fitted = MixedLM(np.concatenate([c.y for c in train]), design, groups, exog_re=design).fit()
    prior, covariance, noise = fitted.fe_params, np.asarray(fitted.cov_re), fitted.scale

    def predict(context, queries):
        mean, cov = condition(_line(context.x), context.y, prior, covariance, noise)
        features = _line(queries)
        return normal(features @ mean, np.sqrt(np.sum(features @ cov * features, 1) + noise))

    return predict


def _line(x):
    """Intercept and slope columns (r, 2), centred near the usual first row."""
    return np.stack([np.ones_like(x), x - 4.0], 1)


def condition(features, y, mean, covariance, noise):
    """Posterior mean (d,) and covariance (d, d) of weights with y = features @ w + noise, features (n, d)."""
    cross = features @ covariance
    gain = np.linalg.solve(cross @ features.T + noise * np.eye(len(y)), cross).T
    return mean + gain @ (y - features @ mean), covariance - gain @ cross


# --- empirical-Bayes Gaussian over the anchor grid -------------------------------------------------------------------


def grid_gaussian(train):
    """Curves are draws from one Gaussian over the anchor grid, learned by EM."""
    return _fit_grid(train, df=np.inf)


def grid_student_t(train):
    """The same with a multivariate Student-t of 1.5 degrees of freedom: a few curves are far from all others."""
    return _fit_grid(train, df=1.5)


def _fit_grid(train, df, iterations=20):
    """EM for a mean (g,), covariance (g, g) and noise, shared by all curves, then exact conditioning."""
    grid = np.arange(4.0, max(c.x.max() for c in train) + 0.5, 0.5)
    weights, y, mask = _pad(train, grid)
    mean, cov, noise = np.full(len(grid), y[mask].mean()), y[mask].var() * _smooth(grid), 1e-3
    for _ in range(iterations):
        mean, cov, noise = _em_step(weights, y, mask, mean, cov, noise, grid, df)

    def predict(context, queries):
        features = _interpolation(context.x, grid)
        residual = context.y - features @ mean
        spread = features @ cov @ features.T + noise * np.eye(len(residual))
        inflate = 1.0
        if np.isfinite(df):  # an odd context widens the predictive: that is what the t adds to the Gaussian
            inflate = (df + residual @ np.linalg.solve(spread, residual)) / (df + len(residual))
        posterior, posterior_cov = condition(features, context.y, mean, cov, noise)
        at = _interpolation(np.minimum(queries, grid[-1]), grid)
        scale = np.sqrt(np.maximum((np.sum(at @ posterior_cov * at, 1) + noise) * inflate, SMALLEST_SD**2))
        centre = np.clip(at @ posterior, 0, 1)
        return normal(centre, scale) if np.isinf(df) else student_t(centre, scale, df + len(residual))

    return predict


def _em_step(weights, y, mask, mean, cov, noise, grid, df, prior_curves=30.0):
    """One EM update; weights (t, r, g) interpolate the grid, y and mask (t, r); padded rows carry no information."""
    rows = mask.sum(1)
    cross = weights @ cov
    spread = cross @ weights.swapaxes(1, 2) + np.where(mask, noise, 1.0)[:, :, None] * np.eye(y.shape[1])
    gain = np.linalg.solve(spread, cross).swapaxes(1, 2)
    residual = np.where(mask, y - weights @ mean, 0.0)
    shift = (gain @ residual[:, :, None])[:, :, 0]
    distance = np.einsum("tr,tr->t", residual, np.linalg.solve(spread, residual[:, :, None])[:, :, 0])
    trust = np.ones(len(y)) if np.isinf(df) else (df + rows) / (df + distance)
    posterior_cov = cov - (gain @ cross)
    offset = trust @ shift / trust.sum()
    scatter = np.einsum("t,ti,tj->ij", trust, shift - offset, shift - offset) + posterior_cov.sum(0)
    # Few curves reach the large sizes: a smooth prior worth `prior_curves` curves fills what they leave open.
    smooth = np.mean(np.diag(scatter)) / trust.sum() * _smooth(grid)
    # Dividing by the total trust, not the count, has the same fixed point and reaches it in far fewer steps.
    new_cov = (scatter + prior_curves * smooth) / (trust.sum() + prior_curves)
    left = residual - np.where(mask, (weights @ shift[:, :, None])[:, :, 0], 0.0)
    explained = np.einsum("trg,tgh,trh->tr", weights, posterior_cov, weights, optimize=True)
    new_noise = np.sum(mask * (trust[:, None] * left**2 + explained)) / np.sum(mask * trust[:, None])
    return mean + offset, new_cov, max(new_noise, SMALLEST_SD**2)


def _smooth(grid, length=12.0):
    """Correlation (g, g) falling with distance on the log2 axis."""
    return np.exp(-np.abs(grid[:, None] - grid) / length)


def _interpolation(x, grid):
    """Rows (r, g) that interpolate linearly between the two anchors around each x (r,)."""
    return np.maximum(0.0, 1.0 - np.abs(x[:, None] - grid) / 0.5)


def _pad(curves, grid):
    """Stack curves of different lengths: interpolation weights (t, r, g), y (t, r), mask (t, r)."""
    longest = max(len(c.x) for c in curves)
    weights, y = np.zeros((len(curves), longest, len(grid))), np.zeros((len(curves), longest))
    mask = np.arange(longest) < np.array([len(c.x) for c in curves])[:, None]
    for i, c in enumerate(curves):
        weights[i, : len(c.x)], y[i, : len(c.x)] = _interpolation(c.x, grid), c.y
    return weights, y, mask


# --- gradient-boosted trees ------------------------------------------------------------------------------------------


def lightgbm(train):
    """LightGBM on features of the context, a second one for the variance, one pair for each context size."""
    return _fit_lightgbm(train, with_learner=False)


def lightgbm_learner(train):
    """The same, told which learner the curve belongs to (a categorical feature)."""
    return _fit_lightgbm(train, with_learner=True)


TREES = dict(n_estimators=150, learning_rate=0.03, num_leaves=15, min_child_samples=40, subsample=0.7, subsample_freq=1,
             colsample_bytree=0.7, reg_lambda=1.0, num_threads=1, verbose=-1, deterministic=True, seed=0)  # fmt: skip
RESIDUAL_DF = 5.0  # tails of the residual given its variance: a Gaussian pays dearly for the few curves that jump


def _fit_lightgbm(train, with_learner):
    """Mean and variance models for each n; the variance is learned from residuals on data sets held out of the mean."""
    names = {name: i for i, name in enumerate(sorted({c.learner for c in train}))}
    code = (lambda c: [names.get(c.learner, -1)]) if with_learner else (lambda c: [])
    models = {n: _fit_pair([c for c in train if len(c.x) > n], n, code, with_learner) for n in SHOTS}

    def predict(context, queries):
        mean_model, variance_model = models[len(context.x)]
        features = _features(context.x, context.y, queries, code(context))
        mean = context.y[-1] + mean_model.predict(features, num_threads=1)
        scale = np.sqrt(variance_model.predict(features, num_threads=1))
        return student_t(np.clip(mean, 0, 1), np.maximum(scale, SMALLEST_SD), RESIDUAL_DF)

    return predict


def _fit_pair(curves, n, code, with_learner, folds=3):
    """The mean booster and the variance booster for contexts of n rows."""
    import lightgbm as lgb
    from sklearn.model_selection import GroupKFold, cross_val_predict

    rows = [_features(c.x[:n], c.y[:n], c.x[n:], code(c)) for c in curves]
    features, groups = np.concatenate(rows), np.repeat([c.dataset for c in curves], [len(r) for r in rows])
    target = np.concatenate([c.y[n:] - c.y[n - 1] for c in curves])
    options = dict(categorical_feature=[features.shape[1] - 1]) if with_learner else {}
    mean = lgb.LGBMRegressor(**TREES)
    held_out = cross_val_predict(mean, features, target, groups=groups, cv=GroupKFold(folds), params=options)
    mean.fit(features, target, **options)
    squared = (target - held_out) ** 2 + SMALLEST_SD**2
    # The gamma deviance of r^2 is twice the Gaussian negative log-likelihood of r in its variance, up to a constant.
    variance = lgb.LGBMRegressor(objective="gamma", **TREES).fit(features, squared, **options)
    return mean.booster_, variance.booster_


def _features(x, y, queries, extra):
    """What the trees see of one query each (q, d): the context, its slopes, where the query lies."""
    slope = np.polyfit(x, y, 1)[0]
    ahead = queries - x[-1]
    fixed = np.concatenate([y, np.diff(y) / np.diff(x), [x[0], x[-1], y.min(), y.max(), y.std(), slope], extra])
    varying = np.stack([queries, ahead, slope * ahead], 1)
    return np.concatenate([varying, np.broadcast_to(fixed, (len(queries), len(fixed)))], 1)
