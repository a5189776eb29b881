"""Settings of methods for classes of images, found on Omniglot's background set: see `docs/results`."""

from __future__ import annotations

import dataclasses

from bmaml.methods.spec import TunedImages
from bmaml.training.optimisers import Muon

# More classes in training than in scoring give better features (Snell et al., 2017). We measured prototypes on 20 new
# characters of Omniglot after 200 meta-steps of 20 classes. Conv-4 with 32 filters, max-pooled, had 83.1% with Muon and
# 79.2% with Adam. It had 75.1% without a norm, and 55.0% with instance norm instead of layer norm. A strided network of
# 64 filters had 56.3% with Muon.
MANY = TunedImages(filters=64, way=30, queries=4, batch=1, steps=600, outer=Muon(2e-2, clip=10.0), compared=True)
# More queries cost little here, because the leader's queries pass the extractor only forwards.
HEAD = TunedImages(
    {"inner_learning_rate": 0.1, "inner_steps": 5},
    queries=10,
    batch=8,
    accumulation_steps=8,
    outer=Muon(2e-2, adam_learning_rate=1e-2, clip=10.0),
    compared=True,
)
HEADS = dataclasses.replace(HEAD, settings=HEAD.settings | {"particles": 5})
# Stein particles share their steps, which are a third as long for five particles as for one. On five of the training
# alphabets, trained with 5 steps, BMAML's five particles went from 94.6% to 97.0% with 40 steps, and one particle from
# 95.6% to 96.2%.
CHASER = dataclasses.replace(HEADS, answering_steps=40)
WHOLE = TunedImages(
    {"inner_learning_rate": 0.4, "inner_steps": 1},
    batch=8,
    accumulation_steps=8,
    steps=2_500,
    outer=Muon(2e-2, adam_learning_rate=1e-2, clip=10.0),
    compared=True,
)
# At 0.4, MAML's rate, the method ends at chance. At 0.03 it has not started to learn after 400 meta-steps.
FIRST_ORDER = dataclasses.replace(WHOLE, settings={"inner_learning_rate": 0.1, "inner_steps": 1})
# Not tuned. The inner loss is the mean log-likelihood, or its sum for Stein particles (nats).
OTHER = TunedImages({"inner_learning_rate": 0.1, "inner_steps": 5, "clip": 10.0})
OTHERS = dataclasses.replace(OTHER, settings=OTHER.settings | {"particles": 5})
SUMMED = TunedImages({"inner_learning_rate": 0.01, "inner_steps": 5, "clip": 10.0})
STEIN = dataclasses.replace(SUMMED, settings=SUMMED.settings | {"particles": 5})
