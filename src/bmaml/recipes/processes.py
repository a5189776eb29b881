"""What Gaussian processes of one input offer to make a method from."""

from __future__ import annotations

import dataclasses

from bmaml.methods.made_of import Offer
from bmaml.models import WaveFeatures
from bmaml.recipes.tables import table_offer
from bmaml.tasks import TaskSpec


def process_offer(family: TaskSpec) -> Offer:
    """Return the networks of a `family` of Gaussian processes: those of tables, but waves below exact heads.

    Networks that read their support multiply inputs by 2, as on sinusoids, and have a noise deviation of at least 0.01.
    """
    offer = table_offer(1, 1, hidden=family.hidden, inner_steps=family.inner_steps, clip=family.clip)
    return dataclasses.replace(offer, features=WaveFeatures, settings=offer.settings | {"input_scale": 2.0})
