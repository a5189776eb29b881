"""The table of methods: one row for each method, with its settings for every kind of tasks.

`benchmarks/sinusoids/tune.py` found the settings for sinusoids. If a row gives no inner steps or clip for sinusoids or
tables, the tasks say how many.
"""

from __future__ import annotations

import dataclasses

from bmaml.learners.exact_heads import RelativeHead
from bmaml.learners.linear import LinearLearner
from bmaml.learners.resized import EXPERTS
from bmaml.methods import classes, latent, presets, published, reading
from bmaml.methods import on_images as images
from bmaml.methods.made_of import OfClasses, OfFeatures, OfHead, OfModel, OfWidths, Settings, pair
from bmaml.methods.spec import TABLES, Group, MethodSpec, Tuned, as_method
from bmaml.objectives import EvidenceLoss
from bmaml.rows import Rows
from bmaml.training.masses import EvidenceMasses
from bmaml.training.optimisers import Muon
from bmaml.training.plan import Plan

# Colours of Okabe and Ito, which differ with any kind of colour vision.
BLUE, GREEN, RED, PINK, ORANGE, GREY = "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#999999"
EXACT = Group("exact heads", BLUE)
POINT = Group("gradient steps", GREEN)
BAYESIAN = Group("Bayesian gradient steps", RED)
CLOSED = Group("closed form on features", BLUE)
READING = Group("networks that read the support", PINK)

# Passes over finite tasks. A hundred sinusoids whose points are split once are learned by heart with 400, and 100 teach less.
# A hundred draws of a Gaussian process, which say less of their family, are best known after 25.
_PASSES_SINUSOIDS, _PASSES_PROCESSES = 200, 25

# Experts that go on once a support has been seen, in training. One in sixteen keeps gradients unbiased.
_KEPT = 16


def _kept(settings: Settings) -> Settings:
    return {"kept": min(1.0, _KEPT / settings["particles"])} | settings


def _sinusoids(batch: int = 25, precision: float = 1.0, **settings: object) -> Tuned:
    """Settings for sinusoids, with `batch` tasks in a meta-batch.

    Point methods learn their noise by its likelihood alone, from 1. Stein particles start where the authors' code does.
    """
    return Tuned(settings, Plan(10_000, batch, Muon(1e-2, clip=1.0)), precision)


def _reading(steps: int) -> Tuned:
    return Tuned({}, Plan(steps, 16, Muon(1e-2, clip=1.0)))


_FIVE = Tuned({"particles": 5}, TABLES)
_BOTH = ("numbers", "classes")

_ROWS = (
    MethodSpec(
        "experts",
        presets.experts,
        OfFeatures(),
        title="experts (exact heads)",
        group=EXACT,
        colour=BLUE,
        papers=("harrison2018",),
        sinusoids=Tuned(
            {
                "particles": EXPERTS,
                "codes": "drawn",
                "learn_weights": True,
                "head": RelativeHead(centres=32),
                "evidence": 0.01,
                "masses": EvidenceMasses(),
            },
            Plan(25_000, 16, Muon(2e-2, adam_learning_rate=3e-2, clip=1.0), accumulation_steps=4),
            derive=_kept,
            passes=_PASSES_SINUSOIDS,
        ),
        tables=Tuned({"particles": 16, "own_prior": True, "learn_weights": True}, TABLES),
        processes=Tuned(
            {"particles": 32, "codes": "drawn", "learn_weights": True, "evidence": 0.01},
            Plan(4_000, 8, Muon(2e-2, adam_learning_rate=1e-2, clip=1.0)),
            derive=_kept,
            passes=_PASSES_PROCESSES,
        ),
    ),
    MethodSpec(
        "linear",
        pair(LinearLearner, EvidenceLoss()),
        OfWidths(),
        title="linear regression",
        group=EXACT,
        papers=("laird1982",),
    ),
    MethodSpec(
        "maml",
        presets.maml,
        OfModel(),
        fits=_BOTH,
        title="MAML",
        group=POINT,
        colour=GREEN,
        papers=("finn2017",),
        sinusoids=_sinusoids(inner_learning_rate=0.01),
        published=published.MAML,
        images=images.WHOLE,
    ),
    MethodSpec(
        "fomaml",
        presets.fomaml,
        OfModel(),
        fits=_BOTH,
        title="FOMAML",
        group=POINT,
        papers=("finn2017",),
        sinusoids=_sinusoids(inner_learning_rate=0.01),
        images=images.FIRST_ORDER,
    ),
    MethodSpec(
        "meta-sgd",
        presets.meta_sgd,
        OfModel(),
        fits=_BOTH,
        title="Meta-SGD",
        group=POINT,
        papers=("li2017",),
        sinusoids=_sinusoids(inner_learning_rate=3e-3),
        images=images.OTHER,
    ),
    MethodSpec(
        "imaml",
        presets.imaml,
        OfModel(),
        fits=_BOTH,
        title="implicit MAML",
        group=POINT,
        papers=("rajeswaran2019",),
        sinusoids=_sinusoids(inner_learning_rate=0.01, inner_steps=16, proximal_strength=20.0, clip=10.0),
        images=images.OTHER,
    ),
    MethodSpec(
        "reptile",
        presets.reptile,
        OfModel(),
        fits=_BOTH,
        title="Reptile",
        group=POINT,
        papers=("nichol2018",),
        sinusoids=_sinusoids(inner_learning_rate=0.01, inner_steps=5, clip=10.0),
        images=images.OTHER,
    ),
    MethodSpec(
        "emaml",
        presets.emaml,
        OfModel(),
        fits=_BOTH,
        title="EMAML",
        group=BAYESIAN,
        colour=ORANGE,
        papers=("kim2018",),
        sinusoids=_sinusoids(10, inner_learning_rate=0.01),
        tables=_FIVE,
        published=published.EMAML,
        images=images.OTHERS,
    ),
    MethodSpec(
        "ml-point",
        presets.ml_point,
        OfModel(),
        fits=_BOTH,
        title="ML-POINT",
        group=POINT,
        papers=("grant2018",),
        sinusoids=_sinusoids(inner_learning_rate=0.01, inner_steps=5, clip=10.0),
        images=images.SUMMED,
    ),
    MethodSpec(
        "ml-laplace",
        presets.ml_laplace,
        OfModel(),
        fits=_BOTH,
        title="ML-LAPLACE",
        group=BAYESIAN,
        papers=("grant2018",),
        sinusoids=_sinusoids(inner_learning_rate=0.03, inner_steps=5, clip=10.0),
        # Functions of weights with this precision vary by .7 to .9 deviations of a standardised outcome. With 10, by 3 to 5.
        tables=Tuned({"tau": 300.0}, TABLES),
        published=published.ML_LAPLACE,
        images=images.SUMMED,
    ),
    MethodSpec(
        "bfa",
        presets.bfa,
        OfModel(),
        fits=_BOTH,
        title="Bayesian fast adaptation",
        group=BAYESIAN,
        colour=PINK,
        papers=("kim2018", "liu2016"),
        sinusoids=_sinusoids(10, 100.0, inner_learning_rate=3e-3, clip=1e3),
        tables=_FIVE,
        images=images.STEIN,
    ),
    MethodSpec(
        "bmaml",
        presets.bmaml,
        OfModel(),
        fits=_BOTH,
        title="BMAML",
        group=BAYESIAN,
        colour=RED,
        papers=("kim2018", "liu2016"),
        sinusoids=_sinusoids(10, 100.0, inner_learning_rate=3e-4, clip=1e3, most_points=10),
        tables=_FIVE,
        published=published.BMAML,
        images=images.STEIN,
    ),
    MethodSpec(
        "pretrain",
        presets.pretrain,
        OfModel(),
        fits=_BOTH,
        title="pretrained, fine-tuned",
        group=POINT,
        colour=GREY,
        papers=("finn2017",),
        sinusoids=_sinusoids(inner_learning_rate=0.01, inner_steps=10, clip=10.0),
        images=images.OTHER,
    ),
    MethodSpec(
        "platipus",
        latent.platipus,
        OfModel(),
        fits=_BOTH,
        title="PLATIPUS",
        group=BAYESIAN,
        papers=("finn2018",),
        sinusoids=_sinusoids(10, inner_learning_rate=0.03, inner_steps=1),
        tables=_FIVE,
        published=published.PLATIPUS,
        images=images.OTHERS,
    ),
    MethodSpec(
        "abml",
        latent.abml,
        OfModel(),
        fits=_BOTH,
        title="ABML",
        group=BAYESIAN,
        papers=("ravi2019",),
        # The bound itself, a weight of 1, holds thousands of parameters to the prior against about twenty points.
        sinusoids=_sinusoids(10, inner_learning_rate=0.01, inner_steps=5, clip=10.0, kl_weight=1e-4),
        tables=_FIVE,
        images=images.OTHERS,
    ),
    MethodSpec(
        "cnp",
        reading.cnp,
        OfWidths(),
        fits=_BOTH,
        title="conditional neural process",
        group=READING,
        papers=("garnelo2018",),
        sinusoids=_reading(20_000),
        processes=_reading(20_000),
    ),
    MethodSpec(
        "tnp",
        reading.tnp,
        OfWidths(),
        fits=_BOTH,
        title="transformer neural process",
        group=READING,
        papers=("nguyen2022",),
        sinusoids=_reading(50_000),
        processes=_reading(20_000),
    ),
    MethodSpec(
        "rnn",
        reading.rnn,
        OfWidths(),
        fits=_BOTH,
        title="memory learner",
        group=READING,
        papers=("hochreiter2001", "santoro2016"),
        sinusoids=_reading(20_000),
        processes=_reading(20_000),
    ),
    MethodSpec(
        "protonet",
        classes.protonet,
        OfClasses(),
        fits=("classes",),
        title="prototypes",
        group=CLOSED,
        papers=("snell2017",),
        images=images.MANY,
    ),
    MethodSpec(
        "matching",
        classes.matching,
        OfClasses(),
        fits=("classes",),
        title="matching networks",
        group=CLOSED,
        papers=("vinyals2016",),
        images=images.MANY,
    ),
    MethodSpec(
        "ridge",
        classes.ridge,
        OfClasses(sized=True),
        fits=("classes",),
        title="ridge heads",
        group=CLOSED,
        papers=("bertinetto2019",),
        images=dataclasses.replace(images.MANY, settings={"noise": 0.1}),
    ),
    MethodSpec(
        "anil", classes.anil, OfHead(), fits=("classes",), title="ANIL", group=POINT, papers=("raghu2020",), images=images.HEAD
    ),
    MethodSpec(
        "shared-emaml",
        classes.shared_emaml,
        OfHead(),
        fits=("classes",),
        title="EMAML of heads",
        group=BAYESIAN,
        papers=("kim2018",),
        images=images.HEADS,
    ),
    MethodSpec(
        "shared-bfa",
        classes.shared_bfa,
        OfHead(),
        fits=("classes",),
        title="fast adaptation of heads",
        group=BAYESIAN,
        papers=("kim2018", "liu2016"),
        images=images.HEADS,
    ),
    MethodSpec(
        "shared-bmaml",
        classes.shared_bmaml,
        OfHead(),
        fits=("classes",),
        title="BMAML of heads",
        group=BAYESIAN,
        papers=("kim2018", "liu2016"),
        images=images.CHASER,
    ),
)
METHODS: Rows[MethodSpec] = Rows("method", "bmaml.methods", as_method, _ROWS)
"""Every method for tasks whose points are given."""
POLICY_METHODS: Rows[MethodSpec] = Rows("method for policies", "bmaml.policy_methods", as_method, filled_by="bmaml.rl.rows")
"""Methods for policies."""
