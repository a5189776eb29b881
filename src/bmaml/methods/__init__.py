"""Named methods: each paper is one learner and one objective.

A new method is a row in the table of `rows.py`. The row makes the method known to the command line, the leaderboard, the
figures, the docs and the contract tests. A row holds a preset: a short function that builds the pair with the paper's
settings. Its docstring explains every argument with its scale, says where the defaults come from, and cites the paper. No
mathematics belongs here: that is in a learner or an objective.

A program adds a row with `add` or the decorator `preset`. An installed package lists its rows as entry points of the group
`bmaml.methods`. `bmaml.methods.NAME` is the preset of any row.
"""

from bmaml.methods.adding import add as add
from bmaml.methods.adding import as_published as as_published
from bmaml.methods.adding import choose as choose
from bmaml.methods.adding import fitting as fitting
from bmaml.methods.adding import preset as preset
from bmaml.methods.base import Method as Method
from bmaml.methods.classes import anil as anil
from bmaml.methods.classes import matching as matching
from bmaml.methods.classes import protonet as protonet
from bmaml.methods.classes import ridge as ridge
from bmaml.methods.classes import shared as shared
from bmaml.methods.classes import shared_bfa as shared_bfa
from bmaml.methods.classes import shared_bmaml as shared_bmaml
from bmaml.methods.classes import shared_emaml as shared_emaml
from bmaml.methods.latent import abml as abml
from bmaml.methods.latent import platipus as platipus
from bmaml.methods.made_of import AbstractIngredients as AbstractIngredients
from bmaml.methods.made_of import OfClasses as OfClasses
from bmaml.methods.made_of import OfFeatures as OfFeatures
from bmaml.methods.made_of import OfHead as OfHead
from bmaml.methods.made_of import OfModel as OfModel
from bmaml.methods.made_of import OfNothing as OfNothing
from bmaml.methods.made_of import OfWidths as OfWidths
from bmaml.methods.made_of import Preset as _Preset
from bmaml.methods.made_of import pair as pair
from bmaml.methods.presets import bfa as bfa
from bmaml.methods.presets import bmaml as bmaml
from bmaml.methods.presets import emaml as emaml
from bmaml.methods.presets import experts as experts
from bmaml.methods.presets import fomaml as fomaml
from bmaml.methods.presets import imaml as imaml
from bmaml.methods.presets import maml as maml
from bmaml.methods.presets import meta_sgd as meta_sgd
from bmaml.methods.presets import ml_laplace as ml_laplace
from bmaml.methods.presets import ml_point as ml_point
from bmaml.methods.presets import pretrain as pretrain
from bmaml.methods.presets import reptile as reptile
from bmaml.methods.reading import cnp as cnp
from bmaml.methods.reading import rnn as rnn
from bmaml.methods.reading import tnp as tnp
from bmaml.methods.rows import METHODS as METHODS
from bmaml.methods.rows import POLICY_METHODS as POLICY_METHODS
from bmaml.methods.spec import Group as Group
from bmaml.methods.spec import MethodSpec as MethodSpec
from bmaml.methods.spec import Tuned as Tuned
from bmaml.methods.spec import TunedImages as TunedImages


def __getattr__(name: str) -> _Preset:
    """Return the preset of a row by the row's name, with underscores for hyphens."""
    row = name.replace("_", "-")
    if name.startswith("_") or row not in METHODS:
        raise AttributeError(f"module 'bmaml.methods' has no attribute {name!r}")
    return METHODS[row].preset
