"""How good a learner is: scores of new tasks with intervals over tasks, and recalibration by them."""
