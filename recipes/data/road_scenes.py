"""Road scenes drawn by formula, with exact masks: what a pinhole camera above a street would see.

Every scene has its own street, light and weather, and every object its own colour: walls, cars and clothes share their
colours, windows mirror the sky, shadows darken the road, so that shape and place tell the classes, not colour alone.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = (96, 128)
CLASSES = {
    "sky": (70, 130, 180),
    "road": (128, 64, 128),
    "lane mark": (255, 255, 255),
    "ground": (244, 35, 232),
    "building": (70, 70, 70),
    "tree": (107, 142, 35),
    "car": (0, 0, 142),
    "pedestrian": (220, 20, 60),
    "pole": (153, 153, 153),
}
SKY, ROAD, MARK, GROUND, BUILDING, TREE, CAR, PEDESTRIAN, POLE = range(len(CLASSES))
COUNTS = {"train": 600, "validation": 100, "test": 100}
FINE = 3  # pixels drawn for each one kept


def draw_split(split, size=SIZE):
    """Images and masks of one split, uint8 (count, height, width, 3) and (count, height, width).

    Args:
        split: "train", "validation" or "test".
        size: (height, width).
    """
    offset = 1_000_000 * list(COUNTS).index(split)
    images, masks = zip(*(draw(offset + index, size) for index in range(COUNTS[split])), strict=True)
    return np.stack(images), np.stack(masks)


def draw(seed, size=SIZE):
    """One scene: image uint8 (height, width, 3) and mask uint8 (height, width); the same for the same seed.

    Args:
        seed: Number of the scene, 0 or more.
        size: (height, width).
    """
    scene = _Scene(np.random.default_rng(seed), size)
    scene.street()
    things = [*scene.houses(), *scene.trees(), *scene.poles(), *scene.cars(), *scene.people()]
    for _, paint in sorted(things, key=lambda thing: -thing[0]):  # far ones first
        paint()
    return scene.finish()


class _Scene:
    """Canvas and camera: x to the right, y up, z ahead, in metres; the eye is above the origin."""

    def __init__(self, random, size):
        self.random, self.size = random, size
        self.height, self.width = FINE * size[0], FINE * size[1]
        self.image = Image.new("RGB", (self.width, self.height))
        self.mask = Image.new("L", (self.width, self.height), SKY)
        self.canvas, self.labels = ImageDraw.Draw(self.image), ImageDraw.Draw(self.mask)
        self.focal = self.width * random.uniform(0.7, 1.1)
        self.eye = random.uniform(1.2, 2.2)
        self.horizon, self.centre = self.height * random.uniform(0.32, 0.5), self.width * random.uniform(0.3, 0.7)
        self.lanes, lane = random.integers(1, 4), random.uniform(2.7, 3.6)
        self.left = -lane * random.uniform(0.4, self.lanes - 0.4 if self.lanes > 1 else 0.6)
        self.right = self.left + lane * self.lanes
        self.lane, self.pavement = lane, random.uniform(1.5, 6.0)
        # the light: from black-blue to bright, warm or cold
        self.light = random.uniform(0.35, 1.1) * (1 + 0.12 * random.standard_normal(3))
        self.fog = random.uniform(0, 0.02) * (random.random() < 0.5)
        self.sky = np.zeros(3)
        self.sky = self._sky()

    def project(self, x, y, z):
        """A point in space to pixels."""
        z = max(z, 0.3)
        return self.centre + self.focal * x / z, self.horizon + self.focal * (self.eye - y) / z

    def polygon(self, points, label, colour, z=None):
        """A flat shape; with a distance its colour fades into the sky's."""
        fog = 0.0 if z is None else 1 - np.exp(-self.fog * z)
        colour = (1 - fog) * np.asarray(colour, float) * self.light + fog * self.sky
        flat = [tuple(float(part) for part in point) for point in points]
        self.canvas.polygon(flat, fill=tuple(colour.clip(0, 255).astype(int).tolist()))
        if label is not None:
            self.labels.polygon(flat, fill=label)

    def ellipse(self, x, y, wide, high, label, colour, z):
        angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        self.polygon(np.stack([x + wide * np.cos(angles), y + high * np.sin(angles)], axis=1), label, colour, z)

    def colour(self, spread=60):
        """Any colour of a thing made by people: grey, brick, white, or bright."""
        base = self.random.choice([60, 110, 160, 205])
        return (base + spread * self.random.uniform(-1, 1, 3) * self.random.random()).clip(15, 240)

    def ground_line(self, x, low, high):
        return [self.project(x, 0, z) for z in (low, high)]

    def _sky(self):
        kinds = ([110, 160, 225], [185, 195, 205], [225, 170, 130], [130, 140, 150], [235, 235, 240])
        sky = np.array(kinds[self.random.integers(len(kinds))], float) * self.light
        top = sky * self.random.uniform(0.6, 1.0)
        for row in range(int(self.horizon) + 1):
            share = row / self.horizon
            shade = tuple(((1 - share) * top + share * sky).clip(0, 255).astype(int).tolist())
            self.canvas.line([(0, row), (self.width, row)], fill=shade)
        for _ in range(self.random.poisson(3)):
            x, y = self.random.uniform(0, self.width), self.random.uniform(0, 0.8 * self.horizon)
            cloud = (sky + self.random.uniform(-40, 60)) / self.light
            for _ in range(5):
                at = (
                    x + 0.06 * self.width * self.random.standard_normal(),
                    y + 0.02 * self.height * self.random.standard_normal(),
                )
                wide, high = self.random.uniform(0.02, 0.1) * self.width, self.random.uniform(0.01, 0.04) * self.height
                self.ellipse(*at, wide, high, None, cloud, None)
        return sky

    def street(self):
        """Ground, road, kerb and marks."""
        random, far = self.random, 150
        edge = [(0, self.horizon), (self.width, self.horizon), (self.width, self.height), (0, self.height)]
        grass = random.random() < 0.4
        ground = (
            [random.uniform(60, 130), random.uniform(90, 150), random.uniform(40, 80)] if grass else self.colour(25)
        )
        self.polygon(edge, GROUND, ground)
        tone = random.uniform(50, 150) + random.uniform(-8, 8, 3)

        def strip(left, right, low, high, label, colour):
            self.polygon([*self.ground_line(left, low, high), *self.ground_line(right, low, high)[::-1]], label, colour)

        for side in (-1, 1):  # the pavement, lighter or darker than the road, and its kerb
            inner = self.left if side < 0 else self.right
            outer, kerb = inner + side * self.pavement, inner + side * 0.25
            strip(min(inner, outer), max(inner, outer), 0.3, far, GROUND, tone + random.uniform(-45, 45))
            strip(min(inner, kerb), max(inner, kerb), 0.3, far, GROUND, tone + random.uniform(10, 70))
        strip(self.left, self.right, 0.3, far, ROAD, tone)
        for _ in range(random.poisson(4)):  # patches and shadows on it
            x, z = random.uniform(self.left, self.right), random.uniform(2, 30)
            wide, deep = random.uniform(0.3, 2), random.uniform(0.5, 5)
            right = min(x + wide, self.right)
            strip(x, right, z, z + deep, None, tone * random.uniform(0.5, 1.15))
        paint = random.uniform(170, 255) * np.array([1, 1, random.choice([1, 1, 0.55])])
        dash, gap = random.uniform(1.5, 4), random.uniform(2, 6)
        for line in range(self.lanes + 1):
            x = self.left + line * self.lane
            border = line in (0, self.lanes)
            if border:
                if random.random() < 0.5:
                    continue
                x += 0.3 if line == 0 else -0.3
            z = random.uniform(0.5, 3)
            while z < 60:
                strip(x - 0.08, x + 0.08, z, z + (12 if border else dash), MARK, paint)
                z += 12 if border else dash + gap
        if random.random() < 0.25:  # a crossing
            z = random.uniform(5, 18)
            for x in np.arange(self.left + 0.3, self.right - 0.4, 1.0):
                strip(x, x + 0.5, z, z + 3, MARK, paint)

    def houses(self):
        for side in (-1, 1):
            if self.random.random() < 0.15:
                continue
            z = self.random.uniform(1, 8)
            while z < 110:
                deep, gap = self.random.uniform(6, 22), self.random.choice([0, 0, 0, 4, 12])
                x = (self.left if side < 0 else self.right) + side * (self.pavement + self.random.uniform(0, 3))
                yield z, self._house(x, side, z, z + deep, self.random.uniform(4, 22))
                z += deep + gap

    def _house(self, x, side, low, high, tall):
        colour, random = self.colour(), self.random
        shade, storeys, step = random.uniform(0.65, 0.95), max(1, int(tall // 3)), random.uniform(2, 4)
        roof = tall + random.uniform(0, 3) * (random.random() < 0.4)
        other, lit = x + side * 15, random.random() < 0.3

        def paint():
            def wall(z1, z2, y1, y2, label, tone):
                corners = (self.project(x, y1, z1), self.project(x, y2, z1), self.project(x, y2, z2))
                self.polygon([*corners, self.project(x, y1, z2)], label, tone, z1)

            def front(x1, x2, y1, y2, label, tone):
                corners = ((x1, y1), (x1, y2), (x2, y2), (x2, y1))
                self.polygon([self.project(*corner, low) for corner in corners], label, tone, low)

            front(x, other, 0, tall, BUILDING, colour * shade)
            wall(low, high, 0, tall, BUILDING, colour)
            if roof > tall:
                middle = self.project(x + side * 4, roof, (low + high) / 2)
                self.polygon(
                    [self.project(x, tall, low), middle, self.project(x, tall, high)], BUILDING, colour * 0.6, low
                )
            glass = np.array([250, 225, 150]) if lit else 0.8 * self.sky / self.light
            for storey in range(storeys):
                y = 1.0 + 3 * storey
                for z in np.arange(low + 0.8, high - 1.2, step):
                    wall(z, z + min(1.2, 0.5 * step), y, min(y + 1.4, tall - 0.2), BUILDING, glass)
                for place in np.arange(1, 14, step):
                    left = x + side * place
                    front(
                        left, left + side * min(1.2, 0.5 * step), y, min(y + 1.4, tall - 0.2), BUILDING, glass * shade
                    )

        return paint

    def beside(self, low=0.3, high=None):
        """A place on the pavement or beyond."""
        side = self.random.choice([-1, 1])
        inner = self.left if side < 0 else self.right
        return inner + side * self.random.uniform(low, high or self.pavement)

    def trees(self):
        for _ in range(self.random.poisson(2.5)):
            z = self.random.uniform(5, 45)
            yield z, self._tree(self.beside(0.6, self.pavement + 2), z)

    def _tree(self, x, z):
        random = self.random
        tall, crown = random.uniform(3, 9), random.uniform(0.8, 2.4)
        leaves = np.array([random.uniform(40, 150), random.uniform(70, 150), random.uniform(20, 70)])
        leaves = leaves if random.random() < 0.75 else np.array([random.uniform(140, 200), 100, 45])  # autumn
        blobs = random.normal(0, 0.5, (14, 2)) * crown
        sizes, shades = random.uniform(0.35, 0.8, 14) * crown, random.uniform(0.6, 1.25, 14)
        wide = random.uniform(0.1, 0.25)

        def paint():
            trunk = [self.project(x + a * wide, y, z) for a, y in ((-1, 0), (-0.6, tall), (0.6, tall), (1, 0))]
            self.polygon(trunk, TREE, np.array([85, 65, 45]), z)
            scale = self.focal / z
            for (right, up), size, shade in zip(blobs, sizes, shades, strict=True):
                at = self.project(x + right, tall + up, z)
                self.ellipse(*at, size * scale, 0.9 * size * scale, TREE, leaves * shade, z)

        return paint

    def poles(self):
        for _ in range(self.random.poisson(2)):
            z = self.random.uniform(4, 30)
            yield z, self._pole(self.beside(0.3, 1.5), z)

    def _pole(self, x, z):
        tall, wide = self.random.uniform(2.5, 8), self.random.uniform(0.06, 0.14)
        colour, arm = self.colour(30), self.random.choice([0, -1.2, 1.2])

        def paint():
            def box(x1, x2, y1, y2):
                corners = ((x1, y1), (x1, y2), (x2, y2), (x2, y1))
                self.polygon([self.project(*corner, z) for corner in corners], POLE, colour, z)

            box(x - wide, x + wide, 0, tall)
            if arm:
                box(min(x, x + arm), max(x, x + arm), tall - 0.15, tall)

        return paint

    def cars(self):
        for _ in range(self.random.poisson(3)):
            parked = self.random.random() < 0.35
            edge = self.random.choice([self.left + 0.9, self.right - 0.9])
            lane = self.left + (self.random.integers(self.lanes) + 0.5) * self.lane
            z = self.random.uniform(5, 45)
            yield z, self._car(edge if parked else lane + self.random.normal(0, 0.2), z)

    def _car(self, x, z):
        random = self.random
        colour, wide = self.colour(120), random.uniform(0.8, 1.0)
        body, tall = random.uniform(0.75, 1.0), random.uniform(1.35, 1.9)
        long, narrow = random.uniform(3.2, 4.8), random.uniform(0.6, 0.85)
        lamp = np.array([230, 30, 30]) if random.random() < 0.6 else np.array([250, 245, 210])
        glass = 0.55 * self.sky / self.light

        def paint():
            def shape(points, tone, label=CAR):
                self.polygon([self.project(x + right, up, z + ahead) for right, up, ahead in points], label, tone, z)

            side = -np.sign(x) * wide  # the flank that the camera sees
            shape([(-wide, 0.02, 0), (wide, 0.02, 0), (wide, 0.02, long), (-wide, 0.02, long)], [18, 18, 18], None)
            ends = [(side, 0.25, 0), (side, body, 0), (side, body, long), (side, 0.25, long)]
            shape(ends, colour * 0.75)
            top = side * narrow
            shape(
                [(side, body, 0.1), (top, tall, 0.6), (top, tall, 0.7 * long), (side, body, 0.85 * long)], glass * 0.8
            )
            for place in (0.18, 0.8):  # wheels
                angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
                rim = [(side, 0.32 + 0.32 * np.sin(a), place * long + 0.32 * np.cos(a)) for a in angles]
                shape(rim, [22, 22, 24])
            shape([(-wide, 0.25, 0), (-wide, body, 0), (wide, body, 0), (wide, 0.25, 0)], colour)
            roof = narrow * wide
            shape([(-wide, body, 0.1), (-roof, tall, 0.6), (roof, tall, 0.6), (wide, body, 0.1)], colour * 0.9)
            low, top = 0.86 * wide, 0.86 * roof
            shape(
                [
                    (-low, body + 0.05, 0.12),
                    (-top, tall - 0.08, 0.55),
                    (top, tall - 0.08, 0.55),
                    (low, body + 0.05, 0.12),
                ],
                glass,
            )
            for sign in (-1, 1):
                inside, outside = sign * 0.6 * wide, sign * 0.95 * wide
                shape([(inside, 0.6, 0), (inside, 0.8, 0), (outside, 0.8, 0), (outside, 0.6, 0)], lamp)
                shape([(inside, 0, 0), (inside, 0.28, 0), (outside, 0.28, 0), (outside, 0, 0)], [20, 20, 22])

        return paint

    def people(self):
        for _ in range(self.random.poisson(2.5)):
            z = self.random.uniform(4, 25)
            on_road = self.random.random() < 0.2
            x = self.random.uniform(self.left, self.right) if on_road else self.beside()
            yield z, self._person(x, z)

    def _person(self, x, z):
        random = self.random
        tall, stride, wide = random.uniform(1.2, 1.95), random.uniform(0, 0.3), random.uniform(0.16, 0.26)
        coat, trousers = self.colour(120), self.colour(90)
        skin = np.array([220, 175, 145]) * random.uniform(0.35, 1.05)

        def paint():
            scale = self.focal / z
            for foot in (-stride, stride):
                leg = ((x + foot - 0.07, 0), (x - 0.1, 0.5 * tall), (x + 0.1, 0.5 * tall), (x + foot + 0.07, 0))
                self.polygon([self.project(*point, z) for point in leg], PEDESTRIAN, trousers, z)
            chest = (
                (x - 0.8 * wide, 0.45 * tall),
                (x - wide, 0.83 * tall),
                (x + wide, 0.83 * tall),
                (x + 0.8 * wide, 0.45 * tall),
            )
            self.polygon([self.project(*point, z) for point in chest], PEDESTRIAN, coat, z)
            for sign in (-1, 1):
                out = x + sign * (wide + 0.5 * stride)
                arm = (
                    (x + sign * wide, 0.82 * tall),
                    (out + sign * 0.06, 0.45 * tall),
                    (out - sign * 0.04, 0.45 * tall),
                )
                self.polygon([self.project(*point, z) for point in arm], PEDESTRIAN, coat * 0.85, z)
            at = self.project(x, 0.92 * tall, z)
            self.ellipse(*at, 0.065 * tall * scale, 0.08 * tall * scale, PEDESTRIAN, skin, z)

        return paint

    def finish(self):
        """What the camera makes of it: grain of the surfaces, blur, noise, and the size that is kept."""
        random, (height, width) = self.random, self.size
        coarse = Image.fromarray(random.integers(0, 256, (height // 2, width // 2), np.uint8))
        grain = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR), np.float32)[..., None] / 255 - 0.5
        blurred = self.image.filter(ImageFilter.GaussianBlur(FINE * random.uniform(0.1, 0.5)))
        image = np.asarray(blurred.resize((width, height), Image.Resampling.BOX), np.float32)
        image = image * (1 + random.uniform(0, 0.35) * grain)
        image += random.normal(0, random.uniform(1, 7), image.shape)
        mask = np.asarray(self.mask)[FINE // 2 :: FINE, FINE // 2 :: FINE]
        return image.clip(0, 255).astype(np.uint8), np.ascontiguousarray(mask)
