"""Records of metrics at fixed meta-steps, however the run was cut into chunks, interrupted or resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bmaml.training.plan import Plan

Record = dict[str, float]

# These numbers have their value at the record's last meta-step. All others are means over its meta-steps.
_LAST = ("skipped", "learning_rate")


class Ledger:
    """Turns the numbers of single meta-steps into records: one for each `plan.record_length` meta-steps, and one at the end.

    A record holds the `step` at its end, and by name the mean of each number over its meta-steps. Values that are not finite
    are left out (NaN if none is finite). `skipped` and `learning_rate` are those of the record's last meta-step. The sums of an
    unfinished record are kept as JSON (`part`), so a resumed run makes the same records to the last bit.
    """

    def __init__(self, plan: Plan, history: Iterable[Record] = (), part: Mapping[str, Any] | None = None):
        self.plan, self.history = plan, list(history)
        self.part: dict[str, Any] = dict(part or {})

    def due(self, step: int) -> bool:
        """Whether a record ends at meta-step `step`."""
        return step % self.plan.record_length == 0 or step == self.plan.steps

    def left(self, step: int) -> int:
        """Return how many meta-steps are left to the end of the record that contains `step`."""
        return self.plan.record_length - step % self.plan.record_length

    def add(self, step: int, numbers: Mapping[str, np.ndarray]) -> list[Record]:
        """Return the records that the meta-steps after `step` complete; `numbers` has the value at each of them by name."""
        done, count, records = 0, len(numbers["loss"]), []
        while done < count:
            length = min(self.left(step + done), count - done)
            self._sum({name: values[done : done + length] for name, values in numbers.items()})
            done += length
            if self.due(step + done):
                records.append({"step": step + done} | self._means())
                self.part = {}
        return records

    def _sum(self, numbers: Mapping[str, np.ndarray]) -> None:
        for name, values in numbers.items():
            values = values.astype(np.float64)
            if name in _LAST:
                self.part[name] = float(values[-1])
                continue
            total, count = self.part.get(name, (0.0, 0))
            values = values[np.isfinite(values)]
            # Values are added one after the other, so the sum is the same wherever a chunk ends.
            total = np.add.accumulate(np.append(total, values))[-1]
            self.part[name] = (float(total), count + len(values))

    def _means(self) -> Record:
        told = {name: value for name, value in self.part.items() if name in _LAST}
        sums = {name: value for name, value in self.part.items() if name not in _LAST}
        means = {name: total / count if count else math.nan for name, (total, count) in sums.items()}
        told["skipped"] = int(told["skipped"])
        return {"loss": means.pop("loss")} | dict(sorted(means.items())) | dict(sorted(told.items()))


def as_line(record: Record) -> str:
    """Return a `record` as one line of JSON. A number that is not finite becomes null, because JSON has no word for it."""
    told = {name: value if math.isfinite(value) else None for name, value in record.items()}
    return json.dumps(told) + "\n"
