"""Estimators in the manner of scikit-learn: a regressor and a classifier for tables, and a classifier for images.

An estimator reads data, picks a recipe, trains, and returns adapted tasks that predict. No mathematics belongs here. An
adapted task is a new, immutable object. Inputs are checked at the door, and each fault is one sentence. A new estimator
subclasses the base class in `base.py`, and needs an adapted task of its own.
"""
