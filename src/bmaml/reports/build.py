"""Which report a saved model gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bmaml.errors import InputError
from bmaml.estimators.base import read_from
from bmaml.estimators.classifier import FewShotClassifier
from bmaml.estimators.held_out_tasks import judge_held_out
from bmaml.estimators.regressor import FewShotRegressor
from bmaml.estimators.scores import Score
from bmaml.estimators.stacking import scores_of
from bmaml.io.files import read_plain
from bmaml.reports.of_classes import report_of_classes
from bmaml.reports.of_runs import report_of_run
from bmaml.reports.of_tables import Judged, report_of_table
from bmaml.reports.parts import ModelReport
from bmaml.tables import TableLike, measured, read_table
from bmaml.training.run import Run, about, load

_MOST_BYTES = 2**24


def report(
    model: str | Path | FewShotRegressor | FewShotClassifier | Run,
    *,
    table: TableLike | None = None,
    shots: Sequence[int] | None = None,
) -> ModelReport:
    """Return a report on a model: what it learned, how well it predicts, and whether its intervals can be trusted.

    - `model`: a fitted estimator, a run, or the folder of one.
    - `table`: for a model of a table, further tasks to score on, all measured and not fitted on. Without it the report shows
      the scores that the fit left.
    - `shots`: for such a table, the numbers of given rows to score at.

    Raises: InputError if the folder holds no model or a damaged one, or if a table does not fit.
    """
    found = _loaded(Path(model)) if isinstance(model, str | Path) else model
    if isinstance(found, FewShotRegressor):
        return _of_table(found, table, shots)
    if table is not None:
        raise InputError("a table of further tasks was given and the model is of none: leave the table out.")
    if isinstance(found, FewShotClassifier):
        run = found.fitted()
        return report_of_classes(found, _scores_in(run.directory))
    if isinstance(found, Run):
        return report_of_run(found)
    raise InputError(f"a {type(found).__name__} has no report: give a fitted estimator, a run, or the folder of one.")


def _loaded(folder: Path) -> FewShotRegressor | FewShotClassifier | Run:
    kind = about(folder).get("kind")
    if kind == "FewShotRegressor":
        return FewShotRegressor.load(folder)
    return FewShotClassifier.load(folder) if kind == "FewShotClassifier" else load(folder)


def _of_table(model: FewShotRegressor, table: TableLike | None, shots: Sequence[int] | None) -> ModelReport:
    """Return the report on a model of a table, scored on `table`, else on what its fit left out."""
    run = model.fitted()
    if table is not None:
        further = read_table(table)
        _, counts = model.further(further, shots)
        further = measured(model.schema_.as_read(further), [column.name for column in model.schema_.outputs])
        scores, said = judge_held_out(model, further, None, counts)
        tasks = max(score.tasks for score in scores)
        return report_of_table(model, Judged(scores, said, f"{tasks} further tasks"))
    if model.folds_ is not None:
        scores = scores_of(model.folds_)
        tasks = max((score.tasks for score in scores), default=0)
        where = f"{tasks} tasks, each left out of a training"
    else:
        kept = _scores_in(run.directory)
        with read_from(run.directory or "."):
            scores = [Score.from_json(values) for values in kept.get("scores", [])]
            where = f"{len(kept.get('held_out', []))} tasks held out of the training"
    return report_of_table(model, Judged(scores, model.left_out(), where))


def _scores_in(folder: Path | None) -> dict[str, Any]:
    """Return what `bmaml fit` wrote of the scores in a model's `folder`, empty without.

    Raises: InputError if the file is damaged.
    """
    path = None if folder is None else folder / "scores.json"
    if path is None or not path.exists():
        return {}
    try:
        found = json.loads(read_plain(path, _MOST_BYTES, links=False))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: restore or remove it.") from error
    return found if isinstance(found, dict) else {}
