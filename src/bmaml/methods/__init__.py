"""Named methods: each paper is one learner and one objective.

A new method is a short function that builds the pair with the paper's settings, and a row in the table of methods. The
row makes the method known to the command line, the leaderboard, the figures and the contract tests. The docstring
explains every argument with its scale, says where the defaults come from, and cites the paper. No mathematics belongs
here: that is in a learner or an objective.
"""

from collections.abc import Callable

from bmaml.methods.base import Method as Method
from bmaml.methods.classes import anil as anil
from bmaml.methods.classes import matching as matching
from bmaml.methods.classes import protonet as protonet
from bmaml.methods.classes import ridge as ridge
from bmaml.methods.classes import shared as shared
from bmaml.methods.classes import shared_bfa as shared_bfa
from bmaml.methods.classes import shared_bmaml as shared_bmaml
from bmaml.methods.classes import shared_emaml as shared_emaml
from bmaml.methods.presets import abml as abml
from bmaml.methods.presets import bfa as bfa
from bmaml.methods.presets import bmaml as bmaml
from bmaml.methods.presets import cnp as cnp
from bmaml.methods.presets import emaml as emaml
from bmaml.methods.presets import experts as experts
from bmaml.methods.presets import fomaml as fomaml
from bmaml.methods.presets import imaml as imaml
from bmaml.methods.presets import maml as maml
from bmaml.methods.presets import meta_sgd as meta_sgd
from bmaml.methods.presets import ml_laplace as ml_laplace
from bmaml.methods.presets import ml_point as ml_point
from bmaml.methods.presets import platipus as platipus
from bmaml.methods.presets import pretrain as pretrain
from bmaml.methods.presets import reptile as reptile
from bmaml.methods.presets import rnn as rnn
from bmaml.methods.presets import tnp as tnp

METHODS: dict[str, Callable[..., Method]] = {
    "experts": experts,
    "maml": maml,
    "fomaml": fomaml,
    "meta-sgd": meta_sgd,
    "imaml": imaml,
    "reptile": reptile,
    "emaml": emaml,
    "ml-point": ml_point,
    "ml-laplace": ml_laplace,
    "bfa": bfa,
    "bmaml": bmaml,
    "pretrain": pretrain,
    "platipus": platipus,
    "abml": abml,
    "cnp": cnp,
    "tnp": tnp,
    "rnn": rnn,
    "protonet": protonet,
    "matching": matching,
    "ridge": ridge,
    "anil": anil,
    "shared-emaml": shared_emaml,
    "shared-bfa": shared_bfa,
    "shared-bmaml": shared_bmaml,
}
# What a method is made from, besides its settings. The widths of inputs and outputs:
AMORTISED = ("cnp", "tnp", "rnn")
# An extractor and the number of classes (for ridge also the extractor's width):
CLOSED_FORM = ("protonet", "matching", "ridge")
# An extractor and a model on its features:
SHARED = ("anil", "shared-emaml", "shared-bfa", "shared-bmaml")
# Features for experts; and a model for all others.

# What a method is for: numbers, or classes.
REGRESSION = tuple(name for name in METHODS if name not in CLOSED_FORM + SHARED)
CLASSIFICATION = tuple(name for name in METHODS if name != "experts")
