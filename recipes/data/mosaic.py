"""Augmentation of images with boxes: mosaic, scale, translation and flips as one transform, and other colours."""

import tensorflow as tf

from recipes.data import draws
from zoo.letterbox import GREY


def compose(pixels, sizes, boxes, alone, key, image_size, *, scale, translate, flip, rows, least=0.1):
    """Images put together from four each, or one alone, scaled, shifted and flipped, and their boxes.

    Args:
        pixels: uint8 (4 * batch, height, width, 3), each image in the upper left corner.
        sizes: int32 (4 * batch, 2), height and width of each image there.
        boxes: float32 (4 * batch, boxes, 5 or 6), as `zoo.losses.Detection` takes them.
        alone: bool (batch,): whether only the first of four is shown.
        key: Seed, int32 (2,).
        image_size: (height, width) of the result.
        scale, translate, flip: See `recipes.data.boxes.training_batches`.
        rows: Boxes of the result.
        least: Share of its area that must be left of a box, or it is dropped.

    Returns:
        (float32 (batch, height, width, 3) in [0, 1], float32 (batch, rows, 5 or 6), class -1 where there is no box).
    """
    side = tf.constant([image_size[1], image_size[0]], tf.float32)  # x, y
    batch = tf.shape(alone)[0]
    draw = draws.uniform((batch, 7), key)
    # the mosaic's centre on a page of twice the size, in shares; an image alone is all to the left of and above it
    centre = tf.where(alone[:, None], 1e6, (0.5 + draw[:, :2]) * side)
    factor = 1 + scale * (2 * draw[:, 2:3] - 1)
    turned = {"none": [0.0, 0.0], "horizontal": [0.5, 0.0], "both": [0.5, 0.5]}[flip]
    sign = tf.where(draw[:, 5:7] < turned, -1.0, 1.0)
    per_pixel = sign / factor  # page pixels per pixel of the result
    sizes = tf.cast(tf.reshape(sizes, (batch, 4, 2)), tf.float32)[..., ::-1]  # x, y
    middle = tf.where(alone[:, None], sizes[:, 0] / 2, side)  # what comes to the centre of the result
    shift = middle - per_pixel * (side / 2 + translate * (2 * draw[:, 3:5] - 1) * side)
    # where each tile begins on the page: left above, right above, left below, right below of the centre
    right, below = tf.constant([0.0, 1, 0, 1]), tf.constant([0.0, 0, 1, 1])
    outer = tf.stack([1 - right, 1 - below], axis=-1)
    origin = tf.where(alone[:, None, None], 0.0, centre[:, None] - outer * sizes)

    # the look-up leads from the centres of the result's pixels to those of the tile
    offset = shift[:, None] - origin + (0.5 * per_pixel - 0.5)[:, None]
    zero = tf.zeros((batch, 4))
    a, e = (tf.broadcast_to(per_pixel[:, None, axis], (batch, 4)) for axis in (0, 1))
    transforms = tf.stack([a, zero, offset[..., 0], zero, e, offset[..., 1], zero, zero], axis=-1)
    tiles = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pixels, tf.float32),
        transforms=tf.reshape(transforms, (-1, 8)),
        output_shape=image_size,
        fill_value=float(GREY),
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    tiles = tf.reshape(tiles, (batch, 4, *image_size, 3))
    inside = []
    for axis, length in ((0, image_size[1]), (1, image_size[0])):
        place = tf.range(length, dtype=tf.float32) + 0.5
        on_tile = place * per_pixel[:, None, axis, None] + shift[:, None, axis, None] - origin[..., axis, None]
        inside.append(tf.logical_and(on_tile >= 0, on_tile < sizes[..., axis, None]))
    show = tf.logical_and(inside[1][..., :, None], inside[0][..., None, :])
    show = tf.logical_and(show, tf.logical_or(tf.range(4) == 0, ~alone[:, None])[..., None, None])
    image = tf.reduce_max(tf.where(show[..., None], tiles, 0.0), axis=1)  # each pixel is on one tile at most
    image = tf.where(tf.reduce_any(show, axis=1)[..., None], image, float(GREY))

    # boxes: from the tile to the page to the result
    columns = boxes.shape[-1]
    boxes = tf.reshape(boxes, (batch, 4, -1, columns))
    label = tf.where(tf.logical_and(alone[:, None], tf.range(4) > 0)[..., None], -1.0, boxes[..., 4])
    corners = tf.reshape(boxes[..., :4], (batch, 4, -1, 2, 2)) + origin[:, :, None, None]
    corners = (corners - shift[:, None, None, None]) / per_pixel[:, None, None, None]
    low, high = tf.reduce_min(corners, axis=3), tf.reduce_max(corners, axis=3)
    seen_low, seen_high = tf.clip_by_value(low, 0.0, side), tf.clip_by_value(high, 0.0, side)
    area = tf.reduce_prod(high - low, axis=-1)
    left = tf.reduce_prod(seen_high - seen_low, axis=-1)
    large = tf.reduce_min(seen_high - seen_low, axis=-1) >= 2
    keep = (label != -1) & large & ((left >= least * area) | (label < -1))  # of a region any part counts
    result = tf.concat([seen_low, seen_high, tf.where(keep, label, -1.0)[..., None], boxes[..., 5:]], axis=-1)
    result = tf.reshape(result, (batch, -1, columns))
    order = tf.argsort(tf.cast(result[..., 4] == -1, tf.int32), axis=1, stable=True)[:, :rows]
    result = tf.gather(result, order, batch_dims=1)
    result = tf.pad(result, [[0, 0], [0, tf.maximum(0, rows - tf.shape(result)[1])], [0, 0]], constant_values=-1.0)
    return image / 255.0, tf.ensure_shape(result, (None, rows, columns))


def jitter(images, key, hue, saturation, brightness):
    """Each image of a batch in other colours: hue turned, saturation and brightness times a factor."""
    draw = draws.uniform((tf.shape(images)[0], 1, 1, 3), key, -1.0, 1.0)
    h, s, v = tf.split(tf.image.rgb_to_hsv(images), 3, axis=-1)
    h = tf.math.floormod(h + hue * draw[..., :1], 1.0)
    s = tf.clip_by_value(s * (1 + saturation * draw[..., 1:2]), 0.0, 1.0)
    v = tf.clip_by_value(v * (1 + brightness * draw[..., 2:]), 0.0, 1.0)
    return tf.image.hsv_to_rgb(tf.concat([h, s, v], axis=-1))
