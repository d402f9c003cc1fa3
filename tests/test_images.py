"""The image data: splits, folders, tensorflow-datasets without a network, and the training stream."""

import gzip

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

from recipes.data import files, images
from zoo.photos import border, light_on_dark


def test_embedded_digits():
    data = images.load("digits")
    assert data.image_shape == (28, 28, 1) and data.class_names == tuple("0123456789")
    counts = {name: len(labels) for name, (_, labels) in data.splits.items()}
    assert sum(counts.values()) == 1797 and counts["test"] > 300 and counts["validation"] > 150
    for pixels, labels in data.splits.values():
        assert pixels.dtype == np.uint8 and pixels.max() == 255 and set(labels) == set(range(10))
    again = images.load("digits")
    np.testing.assert_array_equal(data.split("test")[0], again.split("test")[0])
    everything = {image.tobytes() for image in data.split("all")[0]}
    parts = [{image.tobytes() for image in data.split(name)[0]} for name in images.SPLITS]
    assert sum(map(len, parts)) == len(everything)  # no image stands in two splits
    with pytest.raises(ValueError, match="dev"):
        data.split("dev")


def test_other_input_shape():
    assert images.load("digits", input_shape=(32, 40, 3)).image_shape == (32, 40, 3)
    with pytest.raises(ValueError, match="channels"):
        images.load("digits", input_shape=(28, 28, 2))


def test_folder_of_classes(image_folder):
    (image_folder / "bright" / "notes.txt").write_text("not an image")
    (image_folder / "bright" / "broken.png").write_text("not an image either")
    data = images.load(str(image_folder), input_shape=(10, 10, 3))
    assert data.class_names == ("bright", "dark")
    assert [path.split("/")[-1] for path in data.skipped] == ["broken.png"]
    assert sum(len(labels) for _, labels in data.splits.values()) == 24
    for pixels, labels in data.splits.values():
        assert set(labels) == {0, 1}
        assert (pixels[labels == 0] > 127).mean() > 0.9 and (pixels[labels == 1] < 127).mean() > 0.9


def test_folder_with_its_own_splits(image_folder, tmp_path):
    root = tmp_path / "parts"
    for part in ("train", "test"):
        (root / part).mkdir(parents=True)
    image_folder.rename(root / "train" / "x")
    for name in ("bright", "dark"):
        (root / "train" / "x" / name).rename(root / "train" / name)
        (root / "test" / name).mkdir()
        (root / "train" / name / "00.png").rename(root / "test" / name / "00.png")
    (root / "train" / "x").rmdir()
    data = images.load(str(root))
    assert {name: len(labels) for name, (_, labels) in data.splits.items()} == {"train": 20, "validation": 2, "test": 2}


@pytest.mark.parametrize("case", ["empty", "one class", "all broken", "too few"])
def test_unusable_folders(case, image_folder, tmp_path):
    folder = image_folder
    if case == "empty":
        folder = tmp_path / "empty"
        folder.mkdir()
    elif case == "one class":
        for path in (folder / "dark").iterdir():
            path.unlink()
    elif case == "all broken":
        for path in images.files(folder):
            path.write_text("broken")
    else:
        for path in sorted((folder / "dark").iterdir())[2:]:
            path.unlink()
    word = {"empty": "no images", "one class": "bright", "all broken": "24 files", "too few": "2 readable"}[case]
    with pytest.raises(ValueError, match=word):
        images.load(str(folder))


def test_reading_an_image_as_people_see_it(tmp_path):
    pixels = np.full((20, 10, 3), 255, np.uint8)
    pixels[:10] = (250, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = files.read_fitted(tmp_path / "turned.png", (10, 20, 3))
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))

    clear = np.zeros((8, 8, 4), np.uint8)  # fully transparent black is seen as paper
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert files.read_fitted(tmp_path / "clear.png", (8, 8, 1)).min() == 255

    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(tmp_path / "deep.png")
    assert files.read_fitted(tmp_path / "deep.png", (8, 8, 1)).min() == 255

    wide = np.full((10, 30), 90, np.uint8)  # proportions are kept, the rest takes the border's colour
    wide[3:7, 13:17] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    square = files.read_fitted(tmp_path / "wide.png", (30, 30, 1))[..., 0]
    assert (square > 150).sum() == 16 and square[0, 0] == 90

    (tmp_path / "text.png").write_text("this is text")
    for name, word in (("text.png", "not an image"), ("none.png", "there is no image")):
        with pytest.raises(ValueError, match=word):
            files.read_fitted(tmp_path / name, (8, 8, 1))


def test_border():
    pixels = np.zeros((2, 6, 6, 1), np.uint8)
    pixels[:, 1:5, 1:5] = 255
    assert border(pixels) == 0 and border(255 - pixels) == 255
    paper = np.full((6, 6, 1), 230, np.uint8)
    paper[2:4, 2:4] = 40
    ink = light_on_dark(paper)
    assert ink.dtype == np.uint8 and set(ink[2:4, 2:4].ravel()) == {255} and ink.sum() == 4 * 255


def test_affine_against_scipy():
    """The transform that is drawn is the one that is applied: undo its coordinates with an independent resampler."""
    random = np.random.default_rng(0)
    batch = ndimage.gaussian_filter(random.random((6, 24, 24, 1)), (0, 2, 2, 0)).astype(np.float32)
    np.testing.assert_allclose(images.affine(tf.constant(batch), [1, 2], strength=0.0), batch, atol=1e-6)
    moved = images.affine(tf.constant(batch), [1, 2], strength=1.0).numpy()
    draw = tf.random.stateless_uniform((6, 6), [1, 2], -1.0, 1.0).numpy()
    for index in range(6):
        angle, shear = np.deg2rad(8) * draw[0, index], 0.08 * draw[1, index]
        rotation = np.array([[np.cos(angle), np.sin(angle) + shear], [-np.sin(angle), np.cos(angle)]])
        matrix = np.diag(1 + 0.08 * draw[2:4, index]) @ rotation  # on (x, y)
        shift = 24 * 1.5 / 28 * draw[4:, index]
        centre = np.array([11.5, 11.5])
        offset = centre - matrix @ centre + shift
        swap = [1, 0]  # scipy counts rows first
        expected = ndimage.affine_transform(
            batch[index, ..., 0], matrix[np.ix_(swap, swap)], offset[swap], order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(moved[index, ..., 0], expected, atol=2e-3)


def test_training_stream_depends_on_seed_and_epoch_only():
    pixels = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    labels = np.arange(40) % 4
    options = {"num_classes": 4, "batch_size": 8, "steps": 5, "epochs": 3, "seed": 9}

    def stream(**changes):
        batches = images.training_batches(pixels, labels, **options | changes)
        return [(np.rint(x.numpy().ravel() * 255).astype(int), y.numpy()) for x, y in batches]

    whole = stream()
    assert len(whole) == 15
    for epoch in range(3):
        seen = np.concatenate([x for x, _ in whole[5 * epoch : 5 * epoch + 5]])
        assert sorted(seen) == list(range(40))  # every image once in each epoch
    assert any((a[0] != b[0]).any() for a, b in zip(whole[:5], whole[5:10], strict=True))  # in another order
    for x, y in whole:
        np.testing.assert_array_equal(y.argmax(axis=1), labels[x])
    for left, right in zip(whole[5:], stream(first_epoch=1), strict=True):
        np.testing.assert_array_equal(left[0], right[0])
    assert any((a[0] != b[0]).any() for a, b in zip(whole, stream(seed=10), strict=True))


def test_augmented_stream_repeats_from_any_epoch():
    data = images.load("digits")
    options = {"num_classes": 10, "batch_size": 16, "steps": 3, "epochs": 2, "augment": 1.0, "seed": 1}
    whole = list(images.training_batches(*data.split("train"), **options))
    tail = list(images.training_batches(*data.split("train"), **options, first_epoch=1))
    for (left, _), (right, _) in zip(whole[3:], tail, strict=True):
        np.testing.assert_array_equal(left, right)
    assert min(x.numpy().min() for x, _ in whole) >= 0 and max(x.numpy().max() for x, _ in whole) <= 1


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])  # their files have the same names
def test_tfds_from_files_got_by_hand(name, real_data, prepared):
    data = images.load(name, data_dir=prepared(name))
    assert {split: len(labels) for split, (_, labels) in data.splits.items()}["test"] == 10_000
    assert sum(len(labels) for _, labels in data.splits.values()) == 70_000
    raw = gzip.decompress((real_data / name / "t10k-images-idx3-ubyte.gz").read_bytes())
    original = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    assert {image.tobytes() for image in original} == {image.tobytes() for image in data.split("test")[0]}


@pytest.mark.parametrize(
    ("name", "word"),
    [("mnistt", "did you mean 'mnist'"), ("imdb_reviews", "not a set of labelled images"), ("./nowhere", "no folder")],
)
def test_unknown_data_sets(name, word, tmp_path):
    with pytest.raises(ValueError, match=word):
        images.load(name, data_dir=tmp_path)


def test_a_download_without_a_network_is_one_clear_line(tmp_path, monkeypatch):
    import socket

    def refuse(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ValueError, match=r"cannot be downloaded.*--dataset digits.*--manual-dir") as caught:
        images.load("kmnist", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_labels(image_folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, path in enumerate(sorted(image_folder.rglob("*.png"))):
        path.rename(flat / f"{index}.png")
    data = images.load(str(flat), labelled=False)
    assert data.class_names == () and sum(len(labels) for _, labels in data.splits.values()) == 24
    assert all((labels == 0).all() for _, labels in data.splits.values())
    with pytest.raises(ValueError, match="one folder per class"):
        images.load(str(flat))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no images"):
        images.load(str(tmp_path / "empty"), labelled=False)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(36, 32)] * 8, (36, 32, 3)),  # kept as they are
        ([(36, 32)] * 7 + [(32, 36)], (28, 28, 1)),
        ([(72, 72)] * 8, (28, 28, 1)),  # photographs of one camera would be too large
        ([(30, 32)] * 8, (28, 28, 1)),
    ],
)
def test_small_images_of_a_folder_keep_their_size_and_colours(tmp_path, sizes, expected):
    random = np.random.default_rng(0)
    originals = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    for index, pixels in enumerate(originals):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    Image.fromarray(originals[0][..., 0]).resize(sizes[0][::-1]).save(tmp_path / "grey.png")
    (tmp_path / "broken.png").write_text("not an image")
    data = images.load(str(tmp_path), labelled=False)
    assert data.image_shape == expected
    if expected == (36, 32, 3):
        found = {image.tobytes() for image in data.split("all")[0]}
        assert {pixels.tobytes() for pixels in originals} < found


def test_crop_takes_the_middle_and_pad_keeps_all(tmp_path):
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, 20:40] = 255
    Image.fromarray(stripes).save(tmp_path / "wide.png")
    assert files.read_fitted(tmp_path / "wide.png", (20, 20, 3), "crop").min() > 250
    padded = files.read_fitted(tmp_path / "wide.png", (60, 60, 3))
    assert padded[:15].max() < 60 and padded[25:35, 25:35].min() > 200


def test_tiles_are_cut_at_their_own_resolution(tmp_path):
    pixels = np.arange(50 * 70, dtype=np.uint32).reshape(50, 70).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    tiles = images.read_tiles(tmp_path / "photo.png", (16, 16, 1))
    assert tiles.shape == (3 * 4, 16, 16, 1)
    np.testing.assert_array_equal(tiles[5, ..., 0], pixels[16:32, 16:32])
    assert images.read_tiles(tmp_path / "photo.png", (16, 16, 3), at_most=5).shape == (5, 16, 16, 3)
    assert images.read_tiles(tmp_path / "photo.png", (60, 60, 1)).shape == (1, 60, 60, 1)
    for level in range(4):
        Image.new("L", (70, 50), 50 * level).save(tmp_path / f"plain{level}.png")
    data = images.load(str(tmp_path), input_shape=(16, 16, 1), labelled=False, fit="tiles")
    assert sum(len(labels) for _, labels in data.splits.values()) == 5 * 12
    for pixels, _ in data.splits.values():  # tiles of one photo stay in one split
        assert len(pixels) % 12 == 0


def test_images_of_tensorflow_datasets_without_a_label(tmp_path):
    import tensorflow_datasets as tfds

    class ZooFaces(tfds.core.GeneratorBasedBuilder):
        """Photos with an edge on both sides."""

        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path  # where others keep a README of the set

        def _info(self):
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(20, 40, 3))})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, _):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index in range(12):
                image = np.full((20, 40, 3), 10 * index, np.uint8)
                image[:, :10] = image[:, 30:] = 255
                yield index, {"image": image}

    data = images.load("zoo_faces", input_shape=(20, 20, 3), data_dir=tmp_path, labelled=False, fit="crop")
    assert data.class_names == () and set(data.splits) == set(images.SPLITS)
    assert sorted(int(image.max()) for image in data.split("all")[0]) == [10 * index for index in range(12)]
    with pytest.raises(ValueError, match="not a set of labelled images: it has image"):
        images.load("zoo_faces", data_dir=tmp_path)


def test_training_stream_with_numbers_for_labels():
    data = images.load("digits")
    x, y = data.split("train")
    stream = images.training_batches(x, y, num_classes=None, batch_size=8, steps=2, epochs=1)
    for pixels, labels in stream:
        assert labels.shape == (8,) and labels.dtype == tf.int32
        for image, label in zip(np.round(pixels * 255), labels, strict=True):
            assert y[(x == image).all(axis=(1, 2, 3))][0] == label
