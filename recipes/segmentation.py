"""A network that says the class of each pixel of a piece, on images of any size: what every form of a U-Net shares."""

import math

import numpy as np

from recipes.checks import check_range
from recipes.pictures import class_colours
from zoo.tiles import by_windows, classes

WHOLE = 640 * 640  # pixels up to which a flexible network sees an image in one piece


class Sliding:
    """A uint8 image (height, width, channels) of any size to a mask of the same size; a form of a model adds `piece`,
    which gives float32 (height, width, classes, 2 or more) of a uint8 piece, and `path`.

    Attributes:
        labels: Names of the classes.
        colours: One (red, green, blue) per class.
        channels: Channels of the images.
        stride: What the sides of a piece are multiples of.
        fixed: (height, width) of a network that takes no other, or None.
        window: (height, width) of a piece, or None for the whole image.
        overlap: Share of a piece that the next one sees again.
        flip: Whether it sees each image and its mirror image, and gives the mean.
    """

    def look(self, labels, colours, channels, stride):
        """Sets what the network knows."""
        self.labels, self.colours = list(map(str, labels)), list(map(tuple, colours))
        self.channels, self.stride = channels, stride

    def slide(self, fixed, window, overlap, flip):
        """Sets how an image is cut into pieces.

        Raises:
            ValueError: If the network does not take such pieces.
        """
        check_range("[0, 0.9]", overlap=overlap)
        self.fixed, self.overlap, self.flip = fixed, overlap, flip
        self.window = fixed or (None if window is None else tuple(window))
        if window is not None and fixed and tuple(window) != fixed:
            raise ValueError(f"{self.path} takes pieces of {fixed}, asked for {tuple(window)}")
        if self.window and any(side < 1 or side % self.stride for side in self.window):
            raise ValueError(f"the window must be multiples of {self.stride}, got {self.window}")

    def __call__(self, image):
        """The class of each pixel, uint8 (height, width)."""
        return self.probabilities(image).argmax(axis=-1).astype(np.uint8)

    def probabilities(self, image):
        """Probabilities of the classes, float32 (height, width, classes, 2 or more); of an exported model without them,
        votes of its pieces."""
        found = self._pieces(image)
        return (found + self._pieces(image[:, ::-1])[:, ::-1]) / 2 if self.flip else found

    def any_size(self, image, longest=None, *, up=False):
        """The class of each pixel of an image, which the model sees at most `longest` pixels long (`up`: exactly)."""
        return classes(self.probabilities, image, longest, up=up)

    def overlay(self, image, mask, opacity=0.5):
        """The image under the colours of its classes, uint8 (height, width, 3)."""
        return np.uint8((1 - opacity) * image + opacity * class_colours.in_colours(mask, self.colours))

    def area(self, counts):
        """Share of the image of each class, from the counts of its pixels."""
        return {name: float(counts[index] / max(1, counts.sum())) for index, name in enumerate(self.labels)}

    def _pieces(self, image):
        if image.ndim != 3 or image.shape[-1] != self.channels or image.dtype != np.uint8:
            raise ValueError(f"an image is uint8 (height, width, {self.channels}), got {image.dtype} {image.shape}")
        height, width = image.shape[:2]
        window = self.window
        if window is None:
            window = (height, width) if height * width <= WHOLE else (512, 512)
            window = tuple(
                math.ceil(min(side, piece) / self.stride) * self.stride
                for side, piece in zip((height, width), window, strict=True)
            )
        return by_windows(self.piece, image, window, self.overlap)
