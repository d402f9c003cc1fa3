"""One row per architecture; the generic tests run over all of them."""

from dataclasses import dataclass, field

import zoo


@dataclass(frozen=True)
class Row:
    """What the generic tests need to know of a builder.

    Attributes:
        builder: The function of `zoo`.
        parameters: Parameter count with the default arguments, as in the document the architecture comes from.
        small: Arguments of a small network that a test can train, export and differentiate in a second.
        inputs: Input name to shape without the batch, of the small network.
        outputs: Output name to shape without the batch, of the small network.
        refused: Arguments that must raise `ValueError`, with a word of the message.
    """

    builder: callable
    parameters: int
    small: dict
    inputs: dict
    outputs: dict
    refused: list = field(default_factory=list)

    @property
    def name(self):
        return self.builder.__name__


ROWS = [
    Row(
        builder=zoo.mnist_cnn,
        parameters=225_034,
        small={
            "input_shape": (14, 12, 3),
            "num_classes": 4,
            "filters": (4, 6),
            "convolutions": 2,
            "padding": "same",
            "batch_normalization": True,
            "global_pooling": True,
            "dense_units": 5,
            "dropout": 0.2,
        },
        inputs={"image": (14, 12, 3)},
        outputs={"probabilities": (4,)},
        refused=[
            ({"num_classes": 1}, "num_classes"),
            ({"input_shape": (8, 8, 1)}, "too small"),
            ({"input_shape": (28, 9, 1)}, "too small"),
            ({"padding": "full"}, "padding"),
            ({"dropout": 1.0}, "dropout"),
            ({"filters": ()}, "stage"),
            ({"weights": "imagenet"}, "mnist"),
            ({"weights": "mnist", "num_classes": 7}, "7"),
        ],
    ),
]
