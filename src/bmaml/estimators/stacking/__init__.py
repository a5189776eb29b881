"""The default for tables: candidates from rigid to flexible, mixed by how well each predicts tasks that it did not see.

Tasks are split into folds. Each candidate is trained on all folds at once, and each fold leaves some tasks out. Predictions of
the tasks left out give the weights, the recalibration and the scores, and no task is lost: a last training, beside the
others, sees all of them. A new candidate is a function in `candidates.py`, or in
`family_candidates.py` for outcomes of other families than numbers.
"""

from bmaml.estimators.stacking.report import AS_GOOD as AS_GOOD
from bmaml.estimators.stacking.report import PLAIN as PLAIN
from bmaml.estimators.stacking.report import PLAIN_OF_NONE as PLAIN_OF_NONE
from bmaml.estimators.stacking.report import Report as Report
from bmaml.estimators.stacking.report import answers_of as answers_of
from bmaml.estimators.stacking.report import scores_of as scores_of
from bmaml.estimators.stacking.report import shown_score as shown_score
from bmaml.estimators.stacking.report import verdict as verdict
from bmaml.estimators.stacking.run import FAMILY_MIXTURES as FAMILY_MIXTURES
from bmaml.estimators.stacking.run import MIXTURES as MIXTURES
from bmaml.estimators.stacking.run import default_steps as default_steps
from bmaml.estimators.stacking.run import roles_for as roles_for
from bmaml.estimators.stacking.run import stacked_run as stacked_run
