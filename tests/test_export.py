"""Export: what a file promises beyond giving the same answer (that is in test_architectures)."""

import json
import os
import resource
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import run_json

import zoo
from zoo import export, pretrained


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return zoo.mnist_cnn((12, 12, 1), 3, filters=(16,), dense_units=32)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 12, 12, 1)).astype(np.uint8)


@pytest.mark.parametrize(("quantize", "tolerance"), [("float16", 1e-3), ("dynamic", 0.01), ("int8", 0.02)])
def test_quantized_file_is_smaller_and_close(model, pixels, quantize, tolerance, tmp_path):
    plain = export.export(model, tmp_path / "plain.tflite")
    data = {"representative_data": pixels} if quantize == "int8" else {}
    path = export.export(model, tmp_path / "model.tflite", quantize=quantize, **data)
    assert path.stat().st_size < plain.stat().st_size
    found = export.load(path)(image=pixels[:1])["probabilities"]
    np.testing.assert_allclose(found, model(pixels[:1] / np.float32(255)), atol=tolerance)
    if quantize == "int8":
        assert "QUANTIZE" in export.operations(path)


def test_static_shapes_and_builtin_operations_only(model, tmp_path):
    path = export.export(model, tmp_path / "model.tflite")
    assert export.load(path).inputs == {"image": ((1, 12, 12, 1), "uint8")}
    operations = export.operations(path)
    assert operations.count("CONV_2D") == 1 and operations.count("FULLY_CONNECTED") == 2
    assert not {"SHAPE", "PACK", "STRIDED_SLICE"} & set(operations)
    assert not any(operation.startswith("Flex") for operation in operations)


@pytest.mark.parametrize("file", ["model.tflite", "model.onnx", "saved"])
def test_labels_and_metadata_travel_in_the_file(model, pixels, file, tmp_path):
    path = export.export(model, tmp_path / file, labels=["ä", "b", "c"], metadata={"task": "test"})
    loaded = export.load(path)
    assert loaded.labels == ["ä", "b", "c"] and loaded.metadata == {"task": "test"}
    if file == "model.tflite":  # readable with unzip, and any interpreter still runs the file
        with zipfile.ZipFile(path) as archive:
            assert archive.read("labels.txt").decode() == "ä\nb\nc"
            assert json.loads(archive.read("metadata.json")) == {"task": "test"}


def test_several_endpoints_share_one_file(model, pixels, tmp_path):
    serve, inputs = export.image_endpoint(model)
    endpoints = {
        export.ENDPOINT: (serve, inputs),
        "label": (lambda image: {"label": tf.argmax(serve(image)["probabilities"], 1)}, inputs),
    }
    path = export.export(model, tmp_path / "model.tflite", endpoints=endpoints)
    probabilities = export.load(path)(image=pixels[:1])["probabilities"]
    assert export.load(path, endpoint="label")(image=pixels[:1])["label"] == probabilities.argmax()
    with pytest.raises(ValueError, match="nothing"):
        export.load(path, endpoint="nothing")


def test_operations_that_are_not_builtin_are_named_and_nothing_is_left(model, tmp_path):
    target = tmp_path / "model.tflite"
    target.write_text("the former file")
    image = {"image": tf.TensorSpec((1, 4), tf.float32, name="image")}
    with pytest.raises(ValueError, match=r"builtin.*Erfinv"):
        export.export(model, target, endpoints={export.ENDPOINT: (lambda image: {"y": tf.math.erfinv(image)}, image)})
    assert target.read_text() == "the former file"
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]


@pytest.mark.parametrize("noticed", [True, False])
def test_a_converter_that_died_is_started_anew(model, pixels, tmp_path, monkeypatch, noticed):
    export.export(model, tmp_path / "first.tflite")
    child = export.writers._Converter.child
    child.kill()
    if noticed:
        child.wait()
    else:  # a moment after its death it still counts as running
        monkeypatch.setattr(child, "poll", lambda: None)
    found = export.load(export.export(model, tmp_path / "second.tflite"))(image=pixels[:1])["probabilities"]
    np.testing.assert_allclose(found, model(pixels[:1] / np.float32(255)), atol=1e-5)


def test_an_aborted_conversion_is_told_and_the_next_one_works(model, tmp_path, monkeypatch):
    abort = [sys.executable, "-c", "import os; input(); os.abort()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with monkeypatch.context() as patched:
        export.writers._Converter.end()
        patched.setattr(export.writers._Converter, "start", lambda: subprocess.Popen(abort, **pipes))
        with pytest.raises(ValueError, match="conversion failed: exit status -6"):
            export.export(model, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())
    assert export.export(model, tmp_path / "model.tflite").is_file()


def test_replaces_a_former_saved_model(model, pixels, tmp_path):
    for _ in range(2):
        path = export.export(model, tmp_path / "saved")
    assert export.load(path)(image=pixels[:1])["probabilities"].shape == (1, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_mixed_precision_model_is_exported_in_float32(pixels, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = zoo.mnist_cnn((12, 12, 1), 3, filters=(4,), dense_units=8)
    finally:
        keras.config.set_dtype_policy("float32")
    found = export.load(export.export(mixed, tmp_path / "model.tflite"))(image=pixels[:1])["probabilities"]
    np.testing.assert_allclose(found, mixed(pixels[:1] / np.float32(255)), atol=0.02)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"path": "m.tflite", "quantize": "int4"}, "int4"),
        ({"path": "m.tflite", "format": "coreml"}, "coreml"),
        ({"path": "m", "quantize": "int8"}, "tflite"),
        ({"path": "m.bin", "format": "tflite"}, r"\*\.tflite"),
        ({"path": "m.tflite", "quantize": "int8"}, "representative_data"),
        ({"path": "m.tflite", "representative_data": np.zeros((1, 12, 12, 1), np.uint8)}, "representative_data"),
    ],
)
def test_bad_arguments(model, arguments, word, tmp_path):
    path = tmp_path / arguments.pop("path")
    with pytest.raises(ValueError, match=word):
        export.export(model, path, **arguments)
    assert not list(tmp_path.iterdir())


def test_wrong_inputs_of_an_exported_model(model, tmp_path):
    run = export.load(export.export(model, tmp_path / "model.tflite"))
    with pytest.raises(ValueError, match=r"uint8 \(1, 12, 12, 1\), got float32"):
        run(image=np.zeros((1, 12, 12, 1), np.float32))
    with pytest.raises(ValueError, match="got picture"):
        run(picture=np.zeros((1, 12, 12, 1), np.uint8))


@pytest.mark.parametrize("name", ["model.tflite", "model.onnx", "folder"])
def test_loading_what_is_no_model(name, tmp_path):
    with pytest.raises(ValueError, match="there is no"):
        export.load(tmp_path / name)
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_text("not a model")
    with pytest.raises(ValueError, match="is not a model"):
        export.load(tmp_path / name)


def test_a_folder_of_something_else_is_never_replaced(model, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ValueError, match="other things in it"):
        export.export(model, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_a_failed_write_leaves_the_former_file_whole(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("former")
    with pytest.raises(RuntimeError), export.atomic(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "former" and len(list(tmp_path.iterdir())) == 1
    with export.atomic(target) as partial:
        partial.write_text("new")
    assert target.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def run_on_a_full_disk(folder, code):
    """Runs Python code that may write at most 64 kB into `folder`: on a full tmpfs, or else under a file size limit."""
    mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True).returncode == 0
    )
    limit = None if mounted else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, 64_000))
    try:
        (folder / "model.keras").write_text("former")
        (folder / "model.tflite").write_text("former")
        child = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, preexec_fn=limit,
            env={**os.environ, "TMPDIR": str(folder.parent)},
        )  # fmt: skip
        return child, {path.name: path.read_text(errors="replace") for path in folder.iterdir() if path.is_file()}
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)


SAVE = """
import zoo
from recipes.checkpoints import save_model
save_model(zoo.mnist_cnn(), "model.keras")
"""
EXPORT = """
import zoo
zoo.export.export(zoo.mnist_cnn(), "model.tflite")
"""
TRAIN = """
import sys
from recipes.__main__ import main
sys.exit(main(["train", "mnist_cnn", "--epochs", "1", "--output", "."]))
"""
EXPORT_ALL = """
import sys
from recipes.__main__ import main
sys.exit(main(["export", "mnist_cnn", "--model", "{folder}/own.keras", "--format", "saved_model", "--output", "."]))
"""


@pytest.mark.parametrize("code", [TRAIN, EXPORT_ALL], ids=["train", "export"])
def test_a_command_on_a_full_disk_is_one_clear_line(code, tmp_path):
    (tmp_path / "small").mkdir()
    zoo.mnist_cnn().save(tmp_path / "own.keras")
    child, files = run_on_a_full_disk(tmp_path / "small", code.replace("{folder}", str(tmp_path)))
    assert child.returncode == 2, child.stderr
    (line,) = [line for line in child.stderr.splitlines() if line.startswith("zoo: ")]
    assert "No space left" in line or "File too large" in line
    assert "Traceback" not in child.stderr
    assert files["model.keras"] == "former" and not any("partial" in name for name in files)


@pytest.mark.parametrize("code", [SAVE, EXPORT], ids=["save", "export"])
def test_a_full_disk_leaves_the_former_file_whole(code, tmp_path):
    (tmp_path / "small").mkdir()
    child, files = run_on_a_full_disk(tmp_path / "small", code)
    assert child.returncode != 0
    assert "No space left" in child.stderr or "File too large" in child.stderr or "errno = 28" in child.stderr, (
        child.stderr
    )
    assert files == {"model.keras": "former", "model.tflite": "former"}


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_file_of_several_examples_at_a_time(quantize, tmp_path):
    model, images = zoo.load("mnist_cnn"), np.random.default_rng(0).integers(0, 255, (7, 28, 28, 1)).astype(np.uint8)
    data = {"quantize": quantize, "representative_data": images if quantize == "int8" else None}
    single = export.load(export.export(model, tmp_path / "one.tflite", **data))
    several = export.load(export.export(model, tmp_path / "four.tflite", batch=4, **data))
    assert several.inputs["image"][0] == (4, 28, 28, 1)
    expected = np.concatenate([single(image=image[None])["probabilities"] for image in images])
    for run in (single, several):  # any number of examples, in parts
        np.testing.assert_allclose(
            run(image=images)["probabilities"], expected, atol=1e-6 if quantize == "none" else 0.1
        )
    with pytest.raises(ValueError, match="batch must be 1 or more, got 0"):
        export.export(model, tmp_path / "none.tflite", batch=0)


def test_detections_of_several_images_at_a_time(tmp_path):
    model = export.float32_copy(zoo.load("yolo_scenes"))
    images = np.random.default_rng(0).integers(0, 255, (3, *model.input_shape[1:])).astype(np.uint8)
    endpoints = {export.ENDPOINT: export.detection_endpoint(model)}
    found = [
        export.load(export.export(model, tmp_path / f"{batch}.tflite", endpoints=endpoints, batch=batch))(image=images)
        for batch in (1, 2)
    ]
    for name in ("boxes", "scores", "classes", "count"):
        assert len(found[0][name]) == 3
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-5)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*missing to write x\.tflite into"):
        export.export(zoo.load("mnist_cnn"), tmp_path / "missing" / "x.tflite")
    assert not (tmp_path / "missing").exists()


# What is exported where nothing else is said


def test_a_published_detector_from_python_is_the_file_of_the_command_line(capfd, tmp_path):
    path = export.export(zoo.load("yolo_scenes"), tmp_path / "python.tflite")
    status, _, _ = run_json(capfd, "export", "yolo", "--model", "yolo_scenes", "--output", tmp_path / "command")
    assert status == 0 and (tmp_path / "command" / "model.tflite").read_bytes() == path.read_bytes()
    found = zoo.predict(path, np.full((90, 120, 3), 200, np.uint8))
    assert found.class_names == ("animal", "car", "person")


@pytest.mark.parametrize("name", ["mnist_cnn", "unet_scenes", "alexnet", "denoising_autoencoder"])
def test_a_published_model_from_python_answers_as_its_phone_file(name, tmp_path):
    photo = np.zeros((96, 128, 3), np.uint8)
    photo[30:70, 50:60] = 220  # a stroke
    file, phone = (zoo.predict(one, photo) for one in (export.export(zoo.load(name), tmp_path / "m.tflite"), name))
    if name == "mnist_cnn":
        assert file.label == phone.label and file.inverted == phone.inverted
    elif name == "unet_scenes":
        assert file.class_names == phone.class_names and (file.mask == phone.mask).mean() > 0.9
    elif name == "alexnet":
        # of 255; eight bits say least of an image that is no photo
        np.testing.assert_allclose(list(file.cast.values()), list(phone.cast.values()), atol=5)
    else:
        np.testing.assert_allclose(np.asarray(file.image, float), np.asarray(phone.image, float), atol=25)


def test_a_model_of_open_size_needs_one(tmp_path):
    model = zoo.unet((None, None, 3), filters=(4, 8))
    with pytest.raises(ValueError, match=r"size of this model is open: say one, such as input_shape=\(256, 256, 3\)"):
        export.export(model, tmp_path / "model.tflite")
    model = zoo.load("denoising_photos")  # which goes over a photo tile by tile, of 256 x 256 where nothing is said
    with pytest.raises(ValueError, match=r"\(height, width, 3\) for this model, got \(64, 64\)"):
        export.export(model, tmp_path / "model.tflite", input_shape=(64, 64))
    path = export.export(model, tmp_path / "model.tflite", input_shape=(64, 64, 3))
    photo = np.full((80, 100, 3), 128, np.uint8)
    np.testing.assert_allclose(np.asarray(zoo.predict(path, photo).image, float), 128, atol=4)
    with pytest.raises(ValueError, match=r"has the input shape \(28, 28, 1\), got \(32, 32, 1\)"):
        export.export(zoo.load("mnist_cnn"), tmp_path / "model.tflite", input_shape=(32, 32, 1))


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    paths = [export.export(model, tmp_path / name, labels=["a", "b", "c"]) for name in ("one.tflite", "two.tflite")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("name", pretrained.names())
def test_a_file_from_python_says_of_itself_what_the_published_one_says(name):
    """But for the precision, the size of its pieces and the steps, which are options of the command."""
    model = zoo.load(name)
    shape = (256, 256, 3) if name == "denoising_photos" else None
    _, endpoints, labels, metadata = export.usual(model, shape)
    endpoint = "generate" if name == "diffusion" else export.ENDPOINT
    published = export.load(pretrained.file(name, "model.tflite"), endpoint=endpoint)
    said, wanted = metadata("none"), published.metadata
    options = {"quantize", "steps"} | ({"input"} if name.startswith("unet") else set())
    older = {"overlaps"} if name == "denoising_autoencoder" else set()  # written before there was such a line
    assert labels == published.labels and endpoint in endpoints
    for key in (set(said) | set(wanted)) - options - older:
        assert said.get(key) == wanted.get(key), key
