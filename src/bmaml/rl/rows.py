"""The rows of the methods for policies: each is known by name to the command line, the figures and the tests."""

from __future__ import annotations

from functools import partial

from bmaml.methods.made_of import OfModel
from bmaml.methods.rows import BAYESIAN, BLUE, GREEN, GREY, ORANGE, PINK, POINT, POLICY_METHODS, RED
from bmaml.methods.spec import MethodSpec
from bmaml.rl import presets

_row = partial(MethodSpec, made_of=OfModel(), fits=("policies",))
_ROWS = (
    _row("maml", presets.maml, title="MAML", group=POINT, colour=GREEN, papers=("finn2017", "schulman2015")),
    _row("fomaml", presets.fomaml, title="FOMAML", group=POINT, colour=BLUE, papers=("finn2017", "schulman2015")),
    _row("meta-sgd", presets.meta_sgd, title="Meta-SGD", group=POINT, colour=PINK, papers=("li2017",)),
    _row("anil", presets.anil, title="ANIL", group=POINT, papers=("raghu2020", "finn2017")),
    _row("emaml", presets.emaml, title="EMAML (VPG-TRPO)", group=BAYESIAN, colour=ORANGE, papers=("kim2018",)),
    _row(
        "bmaml",
        presets.bmaml,
        title="BMAML (SVPG-TRPO)",
        group=BAYESIAN,
        colour=RED,
        papers=("kim2018", "liu2017"),
    ),
    _row(
        "bmaml-chaser",
        presets.bmaml_chaser,
        title="BMAML (SVPG-Chaser)",
        group=BAYESIAN,
        colour="#56B4E9",
        papers=("kim2018", "liu2017"),
    ),
    _row(
        "reptile",
        presets.reptile,
        title="VPG-Reptile",
        group=POINT,
        colour="#F0E442",
        papers=("nichol2018", "kim2018"),
    ),
    _row(
        "pretrain",
        presets.pretrain,
        title="pretrained, fine-tuned",
        group=POINT,
        colour=GREY,
        papers=("finn2017",),
        fine_tuned=True,
    ),
)
for _spec in _ROWS:
    POLICY_METHODS.add(_spec)
