"""Boxes of tensorflow-datasets: voc, coco and others with an image and objects."""

import io

import numpy as np

from recipes.data import images
from recipes.data.box_folders import Source

OFFLINE = "without a network: --dataset scenes, or --dataset FOLDER in the form of Pascal VOC, COCO or YOLO"


def read_tfds(dataset, data_dir, manual_dir=None):
    """A set of tensorflow-datasets with "objects" of boxes and labels."""
    import tensorflow_datasets as tfds

    builder = images.tfds_builder(dataset, data_dir, embedded="scenes")
    features = builder.info.features
    objects = features["objects"] if "objects" in features else None  # noqa: SIM401, it has no get
    objects = getattr(objects, "feature", objects)
    if "image" not in features or objects is None or "bbox" not in objects or "label" not in objects:
        raise ValueError(f"{dataset} is not a set of images with boxes: it has {', '.join(features)}")
    images.download(builder, manual_dir, OFFLINE)
    names, holes = objects["label"].names, {}
    splits = {}
    for split in (name for name in images.SPLITS if name in builder.info.splits):
        examples = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
        rows = splits[split] = []
        for number, example in enumerate(tfds.as_numpy(examples)):
            found = example["objects"]
            crowd = found.get("is_crowd", np.zeros(len(found["label"]), bool))
            boxes = [
                (left, top, right, lower, names[label])
                for (top, left, lower, right), label in zip(found["bbox"], found["label"], strict=True)
            ]
            name = f"{split}/" + example.get("image/filename", str(number).encode()).decode()
            if crowd.any():
                holes[name] = [(*box, 0.0) for box, many in zip(boxes, crowd, strict=True) if many], ()
                boxes = [box for box, many in zip(boxes, crowd, strict=True) if not many]
            rows.append((name, _decoder(bytes(example["image"]), name), boxes))
        if split == "test" and not any(boxes for *_, boxes in rows):  # coco keeps its labels to itself
            splits.pop(split)
    return Source(
        dataset,
        tuple(names),
        splits,
        str(builder.info.version),
        builder.info.redistribution_info.license or "",
        "tensorflow-datasets",
        relative=True,
        holes=holes,
    )


def _decoder(content, name):
    return lambda: images.open_image(io.BytesIO(content))
