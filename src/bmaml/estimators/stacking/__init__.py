"""The default for tables: candidates from rigid to flexible, mixed by how well each predicts tasks that it did not see.

Tasks are split into folds. Each candidate is trained on all folds at once, and each fold leaves some tasks out. Predictions of
the tasks left out give the weights, the recalibration and the scores, and no task is lost: a last training, beside the
others, sees all of them. A new candidate is a function in `candidates.py`.
"""

from bmaml.estimators.stacking.run import MIXTURES, default_steps, stacked_run

__all__ = ["MIXTURES", "default_steps", "stacked_run"]
