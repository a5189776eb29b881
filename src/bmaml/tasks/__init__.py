"""Where tasks come from."""

from bmaml.tasks.base import AbstractTasks as AbstractTasks
from bmaml.tasks.base import FixedTasks as FixedTasks
from bmaml.tasks.derived import FiniteTasks as FiniteTasks
from bmaml.tasks.derived import PartialTasks as PartialTasks
from bmaml.tasks.episodes import Bank as Bank
from bmaml.tasks.episodes import Episodes as Episodes
from bmaml.tasks.sinusoid import Sinusoids as Sinusoids
from bmaml.tasks.sinusoid import ambiguous as ambiguous
from bmaml.tasks.sinusoid import maml_sinusoids as maml_sinusoids
