"""Methods whose network reads the support in one pass: neural processes and recurrent learners."""

from __future__ import annotations

from bmaml.learners import AmortisedLearner
from bmaml.methods.arguments import explained
from bmaml.methods.base import Method
from bmaml.models import AbstractContextNetwork, CategoricalHead, DeepSets, NormalHead, Recurrent, Transformer
from bmaml.objectives import QueryLoss


def _amortised(
    network: AbstractContextNetwork, outputs: int, classes: bool, output_scale: float, floor: float, *, name: str
) -> Method:
    head = CategoricalHead(outputs) if classes else NormalHead(outputs, output_scale, floor)
    return Method(AmortisedLearner(network, head), QueryLoss("points"), name=name)


@explained
def cnp(
    inputs: int = 1,
    outputs: int = 1,
    *,
    classes: bool = False,
    width: int = 128,
    depth: int = 3,
    input_scale: float = 1.0,
    output_scale: float = 1.0,
    floor: float = 1e-3,
) -> Method:
    """Conditional neural process: deep sets.

    Garnelo et al. (2018), https://arxiv.org/abs/1807.01613.

    - `inputs`, `outputs`: widths of inputs and targets.
    - `classes`: whether targets are classes; there are then `outputs` of them.
    - `width`, `depth`: width and hidden layers of both networks.
    - `input_scale`: multiplies the inputs.
    - `output_scale`: size of the targets, in their units.
    - `floor`: smallest predictive deviation, in the targets' units.
    """
    network = DeepSets(inputs, width, depth, input_scale=input_scale)
    return _amortised(network, outputs, classes, output_scale, floor, name="cnp")


@explained
def tnp(
    inputs: int = 1,
    outputs: int = 1,
    *,
    classes: bool = False,
    width: int = 64,
    layers: int = 4,
    heads: int = 4,
    input_scale: float = 1.0,
    output_scale: float = 1.0,
    floor: float = 1e-3,
) -> Method:
    """Transformer neural process, diagonal.

    Nguyen and Grover (2022), https://arxiv.org/abs/2207.04179. `width`, `layers` and `heads` are those of the transformer.
    `inputs`, `outputs`, `classes`, `input_scale`, `output_scale` and `floor` are as in `cnp`.
    """
    network = Transformer(inputs, width, layers, heads, input_scale=input_scale)
    return _amortised(network, outputs, classes, output_scale, floor, name="tnp")


@explained
def rnn(
    inputs: int = 1,
    outputs: int = 1,
    *,
    classes: bool = False,
    width: int = 128,
    depth: int = 2,
    input_scale: float = 1.0,
    output_scale: float = 1.0,
    floor: float = 1e-3,
) -> Method:
    """A recurrent learner (GRU), which depends on the order of the support.

    Hochreiter et al. (2001), https://doi.org/10.1007/3-540-44668-0_13; Santoro et al. (2016), https://arxiv.org/abs/1605.06065.
    `width` and `depth` are those of the state and of the network that answers. `inputs`, `outputs`, `classes`, `input_scale`,
    `output_scale` and `floor` are as in `cnp`.
    """
    network = Recurrent(inputs, width, depth, input_scale=input_scale)
    return _amortised(network, outputs, classes, output_scale, floor, name="rnn")
