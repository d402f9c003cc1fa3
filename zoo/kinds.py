"""Kinds of arguments and answers, for editors and type checkers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image

Array = np.ndarray
Tensor = Any  # a tensor of Keras's backend, or an array
File = str | Path
Shape = tuple[int | None, ...]  # of one example; a side that is None is open
Labels = Sequence[int] | np.ndarray | int  # of each image, or one for all
Sampler = Literal["ddpm", "ddim", "dpm_solver++"]
Photo = File | bytes | BinaryIO | Image.Image | Array
Sound = File | bytes | BinaryIO | tuple[Array, int]
