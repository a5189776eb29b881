"""The small models that come with the package, so that `bmaml explore --demo` needs none.

`python -m bmaml.explore.demo FOLDER` trains them again. That takes two minutes on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bmaml.explore.subjects import AbstractSubject, open_subject
from bmaml.recipes.families import build_method, build_plan
from bmaml.tasks import Sinusoids
from bmaml.training.progress import BarProgress
from bmaml.training.run import train

# Noise of 0.2 in units of y, so that clicked points need not lie on a sinusoid to the pixel.
_NOISE: dict[str, Any] = {"relative_noise": 0.0, "noise": 0.2}
_TITLES = {"experts": "experts on sinusoids", "bmaml": "BMAML on sinusoids"}
_STEPS = {"experts": 3000, "bmaml": 1000}
_PLACE = Path(__file__).parent / "models"


def demo_subjects() -> list[AbstractSubject]:
    """Return the models that come with the package: experts, and BMAML, whose inner steps can be set."""
    return [open_subject(_PLACE / name, title) for name, title in _TITLES.items()]


def make(folder: Path) -> None:
    """Train the models again, each into a folder of its name in `folder`, and keep of each what an answer needs.

    Raises: InputError if one of the folders is there and holds something else than a run.
    """
    for name in _TITLES:
        if name == "experts":
            method, tasks = build_method(name, particles=32), Sinusoids((0, 1, 2, 3, 5, 10), 20, **_NOISE)
        else:
            # The paper's noise, so that the page shows particles that are sure too soon beside experts that are not.
            method, tasks = build_method(name, particles=5, noise="gamma"), Sinusoids(5, 5, **_NOISE)
        plan = build_plan(name, steps=_STEPS[name])
        train(method, tasks, plan, directory=folder / name, overwrite=True, keep=1, progress=BarProgress(name))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
