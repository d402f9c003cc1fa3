"""Drawn scenes with people, cars and animals, which hide one another: a data set of boxes that needs no network.

Each scene is drawn from its own seed, so it is the same everywhere. A box is the extent of what is to be seen of a
figure; a figure that is hidden for the most part is no object.
"""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from recipes.data.box_folders import Source

CLASSES = ("animal", "car", "person")
COUNTS = {"train": 600, "validation": 100, "test": 100}
WIDTH, HEIGHT = 320, 256
FINE = 2  # figures are drawn larger and shrunk, so that their edges are smooth
VISIBLE = 0.35  # share of a figure that must be seen
SKIN = ("#f1c9a5", "#c68642", "#8d5524", "#5c3a1e", "#e0ac69")
FUR = ("#6b4a2b", "#2d2a28", "#b98d5a", "#8a8a86", "#ddd6c8", "#4a3726")


def source(wanted=tuple(COUNTS)):
    """The scenes of the splits that are wanted, for `recipes.data.boxes.load`."""
    splits = {}
    for part, (split, count) in enumerate(COUNTS.items()):
        if split not in wanted:
            continue
        rows = splits[split] = []
        for number in range(count):
            image, objects = draw(seed=[part, number])
            rows.append((f"{split}-{number:04}.png", functools.partial(lambda image: image, image), objects))
    return Source("scenes", CLASSES, splits, version="1", licence="Apache-2.0", form="drawn")


def draw(seed):
    """One scene: (PIL image, list of (left, top, right, lower, class name) in pixels)."""
    random = np.random.default_rng(seed)
    horizon = int(HEIGHT * random.uniform(0.25, 0.55))
    page = _background(random, horizon)
    names, covers = [], []
    # what stands lower is nearer and hides what is behind it
    for foot in np.sort(random.uniform(horizon + 8, HEIGHT + 12, random.integers(1, 9))):
        name = CLASSES[random.integers(len(CLASSES))]
        near = (foot - horizon) / (HEIGHT - horizon)
        tall = random.uniform(0.75, 1.25) * (22 + 105 * near) * {"person": 1.0, "car": 0.6, "animal": 0.55}[name]
        figure = _figure(random, name, tall)
        left = int(random.uniform(-0.3 * figure.width, WIDTH - 0.7 * figure.width))
        corner, alpha = (left, round(foot) - figure.height), figure.getchannel("A")
        page.paste(figure, corner, alpha)
        layer = Image.new("L", page.size)
        layer.paste(alpha, corner)
        cover, whole = np.asarray(layer) > 127, (np.asarray(alpha) > 127).sum()
        covers = [(seen & ~cover, area) for seen, area in covers] + [(cover, whole)]
        names.append(name)
    objects = []
    for name, (seen, whole) in zip(names, covers, strict=True):
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if seen.sum() < VISIBLE * whole or min(len(rows), len(columns)) < 6:
            continue
        objects.append((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1, name))
    pixels = np.asarray(page.convert("RGB")).astype(np.float32) * random.uniform(0.7, 1.15)
    pixels += random.uniform(2, 8) * random.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), objects


def _background(random, horizon):
    """Sky and ground with a texture each, clouds, trees and houses: nothing that is an object."""
    page = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    sky, haze = random.uniform((80, 120, 160), (170, 200, 255)), random.uniform(170, 240, 3)
    page[:horizon] = np.linspace(sky, haze, horizon)[:, None]
    ground = random.uniform((60, 70, 40), (170, 165, 150))
    page[horizon:] = np.linspace(ground * 1.1, ground * 0.8, HEIGHT - horizon)[:, None]
    for cells, strength in ((6, 14), (24, 12), (80, 9)):
        noise = Image.fromarray(random.uniform(0, 255, (cells, cells)).astype(np.uint8))
        noise = np.asarray(noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32) / 127.5 - 1
        page[horizon:] += strength * noise[horizon:, :, None]
        page[:horizon] += 0.3 * strength * noise[:horizon, :, None]
    image = Image.fromarray(page.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(random.integers(0, 6)):
        x, foot = random.uniform(0, WIDTH), horizon + random.uniform(-2, 10)
        if random.random() < 0.5:  # a house
            wide, tall = random.uniform(25, 80), random.uniform(20, 70)
            wall = _colour(random, (90, 70, 60), (220, 205, 190))
            pen.rectangle((x, foot - tall, x + wide, foot), fill=wall)
            for window in range(int(wide // 14)):
                corner = x + 5 + 14 * window, foot - tall + 8
                pen.rectangle(
                    (*corner, corner[0] + 6, corner[1] + 9), fill=_colour(random, (30, 40, 60), (120, 140, 170))
                )
        else:  # a tree
            tall, wide = random.uniform(25, 75), random.uniform(12, 30)
            pen.rectangle((x - 2, foot - tall, x + 2, foot), fill="#4a3a28")
            leaves = _colour(random, (20, 60, 20), (110, 140, 70))
            pen.ellipse((x - wide, foot - tall - wide, x + wide, foot - tall / 3), fill=leaves)
    if random.random() < 0.5:  # a road with its middle line
        low, high = sorted(random.uniform(horizon + 10, HEIGHT, 2))
        grey = int(random.uniform(70, 120))
        pen.rectangle((0, low, WIDTH, high), fill=(grey, grey, grey + 4))
        for x in range(0, WIDTH, 40):
            pen.rectangle((x, (low + high) / 2 - 1, x + 18, (low + high) / 2 + 1), fill="#dddddd")
    return image.filter(ImageFilter.GaussianBlur(0.6))


def _figure(random, name, tall):
    """A figure of about that height in pixels, cut to its extent, RGBA."""
    unit = tall * FINE / 100  # a figure is drawn on a field of 100 units height
    image = Image.new("RGBA", (max(1, int(260 * unit)), max(1, int(112 * unit))))
    pen = ImageDraw.Draw(image)

    def scaled(points):
        return [unit * value for value in points]

    {"person": _person, "car": _car, "animal": _animal}[name](random, pen, scaled, unit)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.resize((max(1, image.width // FINE), max(1, image.height // FINE)), Image.Resampling.BOX)
    solid = Image.fromarray(np.uint8(255 * (np.asarray(image)[..., 3] > 127)))
    return image.crop(solid.getbbox() or (0, 0, 1, 1))


def _person(random, pen, scaled, unit):
    skin, shirt, trousers = SKIN[random.integers(len(SKIN))], _colour(random), _colour(random, 10, 160)
    middle, stride, swing = 60, random.uniform(2, 15), random.uniform(-16, 16)
    thick = random.uniform(6, 9)
    for side in (-1, 1):
        knee = (middle + side * (3 + stride / 3), 76)
        pen.line(scaled((middle + side * 3, 54, *knee, middle + side * (3 + stride), 108)), trousers, int(thick * unit))
        foot = middle + side * (3 + stride)
        pen.ellipse(scaled((foot - 5, 103, foot + 7, 111)), fill="#241c18")
    pen.rounded_rectangle(scaled((middle - 11, 21, middle + 11, 60)), 5 * unit, fill=shirt)
    for side in (-1, 1):
        elbow = (middle + side * (14 + abs(swing) / 3), 40)
        pen.line(scaled((middle + side * 10, 25, *elbow)), shirt, int(6 * unit))
        pen.line(scaled((*elbow, middle + side * 12 + swing, 56)), skin, int(4.5 * unit))
    pen.ellipse(scaled((middle - 8, 2, middle + 8, 21)), fill=skin)
    pen.pieslice(scaled((middle - 9, 0, middle + 9, 20)), 180, 360, fill=_colour(random, 10, 120))


def _car(random, pen, scaled, unit):
    paint, glass = _colour(random, 30, 235), _colour(random, (60, 80, 100), (150, 180, 205))
    long, roof = random.uniform(185, 225), random.uniform(2, 22)
    front, back = random.uniform(25, 55), random.uniform(5, 30)
    pen.polygon(scaled((15 + back, 48, 30 + back, roof, long - front - 18, roof, long - front + 12, 48)), fill=paint)
    pen.polygon(
        scaled((23 + back, 46, 34 + back, roof + 6, long - front - 21, roof + 6, long - front + 4, 46)), fill=glass
    )
    middle = (30 + back + long - front) / 2
    pen.rectangle(scaled((middle - 3, roof, middle + 3, 48)), fill=paint)
    pen.rounded_rectangle(scaled((10, 44, long, 88)), 10 * unit, fill=paint)
    pen.rectangle(scaled((10, 70, long, 76)), fill=_colour(random, 20, 90))
    pen.ellipse(scaled((long - 10, 52, long, 62)), fill="#fff3c4")
    pen.rectangle(scaled((10, 52, 16, 62)), fill="#b3201d")
    for x in (48, long - 42):
        pen.ellipse(scaled((x - 19, 66, x + 19, 104)), fill="#1b1b1d")
        pen.ellipse(scaled((x - 9, 76, x + 9, 94)), fill="#b9bcc0")


def _animal(random, pen, scaled, unit):
    fur = FUR[random.integers(len(FUR))]
    long, neck, thick = random.uniform(75, 125), random.uniform(0, 22), random.uniform(15, 24)
    for x in (26, 40, long + 2, long + 16):
        swing = random.uniform(-7, 7)
        pen.line(scaled((x, 62, x + swing, 108)), fur, int(random.uniform(7, 11) * unit))
    pen.ellipse(scaled((14, 58 - thick, long + 26, 58 + thick)), fill=fur)
    pen.line(scaled((18, 55, 4, random.uniform(30, 85))), fur, int(5 * unit))
    head = (long + 30, 34 - neck)
    pen.line(scaled((long + 12, 52, *head)), fur, int(18 * unit))
    pen.ellipse(scaled((head[0] - 13, head[1] - 12, head[0] + 15, head[1] + 12)), fill=fur)
    pen.ellipse(scaled((head[0] + 4, head[1] - 5, head[0] + 27, head[1] + 10)), fill=fur)
    for side in (-9, 1):
        ear = (head[0] + side, head[1] - 8, head[0] + side + 4, head[1] - 24, head[0] + side + 9, head[1] - 7)
        pen.polygon(scaled(ear), fill=fur)
    pen.ellipse(scaled((head[0] + 3, head[1] - 6, head[0] + 8, head[1] - 1)), fill="#101010")
    if random.random() < 0.4:
        for _ in range(4):
            x, y = random.uniform(35, long), random.uniform(50, 66)
            pen.ellipse(scaled((x - 7, y - 6, x + 9, y + 6)), fill=FUR[random.integers(len(FUR))])


def _colour(random, low=40, high=230):
    return tuple(int(value) for value in random.uniform(low, high, 3))
