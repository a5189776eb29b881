"""Where tasks come from.

A source draws a task as a pure function of a key, so the training loop compiles it. A new family is one file that
subclasses `AbstractTasks` in `base.py`: it has `sample(key)` and the widths `inputs` and `outputs`. Every draw must
have the same shapes, with padded rows masked. Sources made from other sources (a finite number of tasks, part of the
shots) are in `derived.py`, and `distortions.py` changes training images a little. Tables and images have rooms of their
own, and both end in a source of this kind.

A row in the table of `families.py` makes a family known by name to the command line and the leaderboard. A program adds a
row with `add` or the decorator `family`, and an installed package by an entry point of the group `bmaml.tasks`.
"""

from bmaml.tasks.base import AbstractTasks as AbstractTasks
from bmaml.tasks.base import FixedTasks as FixedTasks
from bmaml.tasks.base import ScoredTask as ScoredTask
from bmaml.tasks.derived import FiniteTasks as FiniteTasks
from bmaml.tasks.derived import PartialTasks as PartialTasks
from bmaml.tasks.episodes import Bank as Bank
from bmaml.tasks.episodes import Episodes as Episodes
from bmaml.tasks.families import FAMILIES as FAMILIES
from bmaml.tasks.families import TaskSpec as TaskSpec
from bmaml.tasks.families import add as add
from bmaml.tasks.families import family as family
from bmaml.tasks.gaussian_process import GaussianProcesses as GaussianProcesses
from bmaml.tasks.shots import Shots as Shots
from bmaml.tasks.shots import shot_counts as shot_counts
from bmaml.tasks.sinusoid import Sinusoids as Sinusoids
from bmaml.tasks.sinusoid import ambiguous as ambiguous
from bmaml.tasks.sinusoid import maml_sinusoids as maml_sinusoids
