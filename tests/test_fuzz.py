"""Damaged files of all kinds through every reader: an answer or one line, never a traceback, a hang or half a file."""

import io
import json
import os
import signal
import warnings
import zipfile

import numpy as np
import pytest
import soundfile
from PIL import Image

import zoo
from recipes import dcgan, mnist_cnn, spectrogram_cnn
from recipes.data import audio, boxes, files, masks, photos
from zoo import export

SECONDS = 10  # for one file, on a busy machine
MORE = int(os.environ.get("ZOO_FUZZ", 1))  # times as many files, to look for more than the suite has time for


def damaged(content, random, *, text=False):
    """The content with some bytes flipped, cut off, doubled, or in text with other numbers and signs."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(random.integers(len(content))) if content else 0
        kind = random.integers(6 if text else 4)
        if kind == 0 and content:
            content[place] = random.integers(256)
        elif kind == 1:
            del content[place:]
        elif kind == 2:
            del content[place : place + int(random.integers(1, 40))]
        elif kind == 3:
            content[place:place] = content[place : place + int(random.integers(1, 40))]
        else:
            signs = ["-1", "nan", "1e309", "99999999999", '"', "<", ",", "\n", "\0", "é", "", "{", "null", "0.0.1"]
            content[place : place + int(random.integers(0, 6))] = signs[random.integers(len(signs))].encode()
    return bytes(content)


def survives(reader, *arguments):
    """Whether a reader took its input; it may refuse it in one line, and in nothing else."""

    def late(*_):
        raise TimeoutError(f"{reader} took more than {SECONDS} s")

    former = signal.signal(signal.SIGALRM, late) if hasattr(signal, "SIGALRM") else None
    if former is not None:
        signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(*arguments)
        return True
    except ValueError as error:
        assert str(error).strip() and len(str(error)) < 2000
        return False
    finally:
        if former is not None:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, former)


def picture(random, size=(24, 20)):
    return Image.fromarray(random.integers(0, 255, (*size, 3)).astype(np.uint8))


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def test_images(tmp_path):
    random = np.random.default_rng(1)
    image = picture(random)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = {
        "png": encoded(image, "PNG"),
        "jpg": encoded(image, "JPEG", exif=exif),
        "gif": encoded(image.convert("P"), "GIF"),
        "bmp": encoded(image, "BMP"),
        "tif": encoded(Image.fromarray(random.random((20, 24), np.float32)), "TIFF"),
        "webp": encoded(image, "WEBP"),
        "ppm": encoded(image, "PPM"),
        "tga": encoded(image, "TGA"),
    }
    taken = 0
    for suffix, content in whole.items():
        for number in range(40 * MORE):
            path = tmp_path / f"{number}.{suffix}"
            path.write_bytes(damaged(content, random))
            taken += survives(files.read_fitted, path, (28, 28, 1))
    assert 20 < taken < 320 * MORE


def test_masks_and_their_classes(tmp_path):
    random = np.random.default_rng(2)
    mask = Image.fromarray(random.integers(0, 3, (24, 20)).astype(np.uint8))
    table = b"name,label,red,green,blue\na,0,1,2,3\nb,1,4,5,6\nc,2,7,8,9\n"
    content = encoded(mask, "PNG")
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        picture(random).save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "masks" / f"{number}.png").write_bytes(content)
    taken = 0
    for number in range(100 * MORE):
        (tmp_path / "masks/0.png").write_bytes(damaged(content, random) if number % 2 else content)
        (tmp_path / "classes.csv").write_bytes(table if number % 2 else damaged(table, random, text=True))
        taken += survives(masks.load, str(tmp_path))
    assert 0 < taken < 100 * MORE


def test_sounds(tmp_path):
    random = np.random.default_rng(3)
    wave = random.normal(0, 0.1, (2000, 2))
    taken = 0
    for suffix, subtype in (("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", None), ("ogg", None), ("aiff", None)):
        soundfile.write(tmp_path / f"whole.{suffix}", wave, 8000, subtype=subtype)
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        for number in range(30 * MORE):
            path = tmp_path / f"{number}.{suffix}"
            path.write_bytes(damaged(content, random))
            taken += survives(audio.read, path, 8000)
    assert 10 < taken < 150 * MORE


@pytest.mark.parametrize("form", ["yolo", "voc", "coco"])
def test_boxes(form, tmp_path):
    random = np.random.default_rng(4)
    (tmp_path / "images").mkdir()
    for number in range(4):
        picture(random, (32, 32)).save(tmp_path / "images" / f"{number}.png")
    if form == "yolo":
        (tmp_path / "data.yaml").write_text('path: .\ntrain: images\nnames: {0: a, "1": b}\n')
        parts = {f"labels/{number}.txt": f"{number % 2} 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.1 0.1\n" for number in range(4)}
    elif form == "voc":
        row = (
            "<annotation><filename>{}.png</filename><size><width>32</width><height>32</height></size><object>"
            "<name>a</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></object></annotation>"
        )
        parts = {f"Annotations/{number}.xml": row.format(number) for number in range(4)}
    else:
        found = [{"id": n, "file_name": f"images/{n}.png", "width": 32, "height": 32} for n in range(4)]
        rows = [{"id": n, "image_id": n, "category_id": 1, "bbox": [2, 3, 10, 20]} for n in range(4)]
        value = {"images": found, "annotations": rows, "categories": [{"id": 1, "name": "a"}]}
        parts = {"instances.json": json.dumps(value)}
    for name, content in parts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    names = [*parts, "data.yaml"] if form == "yolo" else list(parts)
    taken = 0
    for number in range(60 * MORE):
        path = tmp_path / names[number % len(names)]
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, random, text=True))
        taken += survives(boxes.load, tmp_path)
        path.write_bytes(whole)
    assert 0 < taken < 60 * MORE


def test_tables(tmp_path):
    random = np.random.default_rng(5)
    for number in range(6):
        picture(random).save(tmp_path / f"{number}.png")
    content = "image,red,green,blue,split\n" + "".join(f"{n}.png,{n},-3.5,2,train\n" for n in range(6))
    taken = 0
    for _ in range(40 * MORE):
        (tmp_path / "table.csv").write_bytes(damaged(content.encode(), random, text=True))
        taken += survives(photos.load, str(tmp_path / "table.csv"))
    assert 0 < taken < 40 * MORE


def test_models(tmp_path):
    random = np.random.default_rng(6)
    for name, opened in (("mnist_cnn", mnist_cnn.Classifier), ("dcgan", dcgan.Sampler)):
        whole = {file: zoo.pretrained.file(name, file).read_bytes() for file in ("model.keras", "model.tflite")}
        for number in range(12 * MORE):
            file = list(whole)[number % 2]
            path = tmp_path / file
            # the heads of the files and the ends are where readers trust what they find
            content = bytearray(whole[file])
            for place in random.choice([*range(60), *range(-400, 0)], 3):
                content[int(place)] = random.integers(256)
            path.write_bytes(bytes(content[: len(content) if number % 3 else random.integers(len(content))]))
            survives(opened, path)
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    assert not survives(spectrogram_cnn.Classifier, path)
    assert not survives(export.load, tmp_path / "none.tflite")
