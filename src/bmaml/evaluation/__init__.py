"""How good a learner is: scores on new tasks with intervals, and recalibration.

Scores are means over tasks, and intervals are taken over tasks because the points of one task depend on each other. A
new score is a function in `metrics.py` of a predictive distribution, targets and a mask. Evaluation asks a source and a
learner for what it needs. It never asks which class they are. So a new learner or a new source needs no change here.
"""
