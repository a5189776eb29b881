"""Early stopping on tasks that are not trained on."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from bmaml.errors import InputError, said
from bmaml.learners.base import Meta
from bmaml.tasks.base import AbstractTasks
from bmaml.training.callbacks import Callback
from bmaml.training.method import AbstractMethod

Judged = Literal["objective", "nll"]
# Number of validation tasks that are adapted to at once.
_AT_ONCE = 16


class EarlyStopping(Callback):
    """Stops when the loss on validation tasks no longer falls. The run then answers with its best meta-parameters.

    The validation loss is computed with the first record that is at least `every` meta-steps after the last one, and it joins
    the record as `validation`. If the tasks have other numbers of points than the training tasks, one more program is compiled.

    - `tasks`: a source of tasks that are not trained on.
    - `count`, `seed`: number of tasks, which are drawn once, and their seed.
    - `every`: meta-steps between two validations (None: with every record).
    - `patience`: number of validations without progress before training stops.
    - `margin`: the loss must fall by more than this to count as progress.
    - `judged`: `"objective"` is the method's own loss. `"nll"` is minus the mean log density of the query points, as a finished
      run answers, in nats a point.

    Raises: InputError for a count, patience or `every` below 1, a negative margin, another `judged`, or tasks without given
    points.
    """

    def __init__(
        self,
        tasks: AbstractTasks,
        *,
        every: int | None = None,
        patience: int = 10,
        margin: float = 0.0,
        count: int = 100,
        judged: Judged = "objective",
        seed: int = 0,
    ):
        if not isinstance(tasks, AbstractTasks):
            raise InputError(
                f"the tasks of early stopping are {said(tasks)}: give a source of tasks that have points, such as "
                "bmaml.tasks.Sinusoids(), or write a callback of your own."
            )
        if min(count, patience, every or 1) < 1 or not margin >= 0 or judged not in ("objective", "nll"):
            raise InputError(
                f"early stopping on {count} tasks every {every} meta-steps with patience {patience}, margin {margin} and "
                f"judged {judged!r}: give counts of at least 1, a margin of at least 0, and 'objective' or 'nll'."
            )
        self.tasks, self.every, self.patience, self.margin = tasks, every, patience, margin
        self.count, self.judged, self.seed = count, judged, seed

    def start(self, training):
        training.method.check(self.tasks)
        self._loss = jax.jit(lambda meta: self._mean_loss(training.method, meta))
        # `looked` is the meta-step of the last validation, and `waited` the number of validations since the best one.
        self._state = {
            "best": jnp.asarray(jnp.inf),
            "looked": jnp.asarray(training.step, jnp.int32),
            "waited": jnp.zeros((), jnp.int32),
            "meta": jax.tree.map(jnp.copy, training.meta),
        }

    def _mean_loss(self, method: AbstractMethod, meta: Meta) -> Float[Array, ""]:
        def task_loss(key: PRNGKeyArray) -> Float[Array, ""]:
            draw_key, adapt_key = jax.random.split(key)
            task = self.tasks.sample(draw_key)
            if self.judged == "objective":
                return method.objective(method.learner, meta, task, key=adapt_key)[0]
            posterior = method.answerer.adapt(meta, task.support, key=adapt_key)
            each = posterior.predict(task.query.x).log_prob(task.query.y)
            return -(each * task.query.mask).sum() / jnp.maximum(task.query.count, 1.0)

        keys = jax.random.split(jax.random.key(self.seed), self.count)
        return jax.lax.map(task_loss, keys, batch_size=min(_AT_ONCE, self.count)).mean()

    def measure(self, training):
        last = training.step == training.plan.steps
        if training.step - int(self._state["looked"]) < (self.every or 1) and not last:
            return {}
        loss = self._loss(training.meta)
        better = bool(loss < self._state["best"] - self.margin)
        self._state |= {"looked": jnp.asarray(training.step, jnp.int32), "waited": self._state["waited"] + 1}
        if better:
            best: dict[str, Any] = {"best": loss, "waited": jnp.zeros((), jnp.int32)}
            self._state |= best | {"meta": jax.tree.map(jnp.copy, training.meta)}
        return {"validation": float(loss)}

    def record(self, training, record):
        if "validation" in record and int(self._state["waited"]) >= self.patience:
            return f"the loss on validation tasks has not fallen for {self.patience} looks"
        return None

    def final(self, meta):
        return self._state["meta"] if bool(jnp.isfinite(self._state["best"])) else meta

    def state(self):
        return self._state

    def restore(self, state):
        self._state = dict(state)
