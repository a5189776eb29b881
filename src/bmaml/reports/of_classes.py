"""The report on a classifier of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bmaml.errors import InputError
from bmaml.estimators.classifier import FewShotClassifier
from bmaml.reports.made import how_made, papers, training, unfinished
from bmaml.reports.parts import Grid, ModelReport, Section, interval, number, share
from bmaml.tables.table import listed


def report_of_classes(model: FewShotClassifier, kept: Mapping[str, object]) -> ModelReport:
    """Return the report on a fitted classifier `model`. `kept` is what was written of its scores, empty without."""
    run = model.fitted()
    made, how = how_made(run, model.notes_.get("command"))
    read: dict[str, Any] = dict(kept)
    held = [str(name) for name in read.get("held_out", ())]
    lines = ["From a few images of each new class the model tells which class another image is of."]
    warned = unfinished(run)
    sections: list[Section] = []
    try:
        rows = [_row(score) for score in read.get("scores", [])]
    except (KeyError, TypeError) as error:
        raise InputError("the model's scores.json is damaged: restore or remove it.") from error
    if rows:
        header = [
            "classes",
            "images of each",
            "right",
            "NLL",
            "Brier score",
            "calibration error",
            "sure answers",
            "of them right",
        ]
        text = f"{len(held)} classes were held out: {listed(held, 20)}. Each score has a 95% interval over episodes."
        sections.append(Section("How well new classes are told apart", [text], tables=[Grid("Scores", header, rows)]))
        lines.append(f"Of images of classes held out {rows[0][2]} are right.")
    else:
        warned.append("The model was not scored on classes that it did not see: nothing here says how right it is.")
    numbers = {"kind": "images", "held_out": held, "scores": read.get("scores", []), "made": how}
    return ModelReport(
        "Telling new classes of images apart", lines, warned, [*sections, *training(run), made, *papers(run)], numbers
    )


def _row(score: dict[str, Any]) -> list[str]:
    def shown(name: str) -> str:
        return interval(*(score[name][end] for end in ("value", "low", "high")))

    parts = [shown(name) for name in ("accuracy", "nll", "brier", "ece")]
    return [number(score["way"]), number(score["shots"]), *parts, share(score["answered"]), share(score["accuracy_answered"])]
