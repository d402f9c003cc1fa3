"""Sound classifier: what a sound file, or a microphone, lets hear, by its spectrogram.

Data: eight kinds of sound made by formula, which need no network; `--dataset spoken_digit`, `speech_commands`, `gtzan`
or any set of tensorflow-datasets with sound and labels; or a folder `class/*.wav`, or one of `class_speaker_1.wav`.
Speed, pitch, echo, equaliser, noise and tempo are drawn anew in every epoch, so that a voice never heard is understood.

    zoo train spectrogram_cnn --dataset spoken_digit

names all 250 digits of the official test split (recordings 0 to 4 of each speaker), with 37,642 parameters, in 60
epochs of 8 seconds on one core of a shared CPU. How it does on a voice never heard is in the card of the published
model: each of the five speakers left out in turn,

    for speaker in george jackson nicolas theo yweweler; do
        zoo train spectrogram_cnn --dataset spoken_digit --split-by speaker --test-speaker $speaker
    done

The settings were chosen by leaving out speakers, the last ones with all their recordings in sight.
"""

from pathlib import Path
from typing import Literal

import keras
import numpy as np
from sklearn.metrics import confusion_matrix
from tyro.conf import OmitArgPrefixes

import zoo
from recipes import cards, checkpoints, exports, listening, models, plots, results, runs, timing, training
from recipes.data import audio
from recipes.data.splits import Split, has_test
from recipes.forward import compiled, gradient
from zoo import export as exporting
from zoo.metrics import expected_calibration_error
from zoo.spectrogram_cnn import Spectrogram

TASK = "sound classification"


def datasets(dataset="sounds", **options):
    """Loads "sounds", a set of tensorflow-datasets or a folder; the options are those of `recipes.data.audio.load`."""
    return audio.load(str(dataset), **options)


@runs.resumable
def train(
    *,
    dataset: str = "sounds",
    split_by: Literal["class", "speaker"] = "class",
    test_speaker: str | None = None,
    seconds: float = 1.0,
    sample_rate: int | None = None,
    channel: audio.Channel = "first",
    long: audio.Long = "loudest",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float = 3e-3,
    weight_decay: float = 0.05,
    label_smoothing: float = 0.1,
    mixup: float = 0.3,
    augment: float = 0.7,
    spec_augment: float = 0.7,
    frontend: Literal["stft", "log_mel"] = "log_mel",
    window: float = 0.025,
    stride: float = 0.0125,
    mel_bins: int = 40,
    architecture: Literal["plain", "depthwise"] = "depthwise",
    filters: tuple[int, ...] | None = None,
    blocks: int = 2,
    dropout: float = 0.2,
    weights: str | None = None,
    setup: OmitArgPrefixes[training.Setup] = training.Setup(),
):
    """Trains a sound classifier (AdamW, one warm-up and cosine cycle) and measures it on the test split.

    The last epoch is kept: the validation split has the same speakers, so it cannot say what a new one will find.

    Args:
        dataset: sounds, a folder of class/*.wav or class_*.wav, or a name of tensorflow-datasets (spoken_digit, ...).
        split_by: class cuts missing splits by class; speaker tests on speakers that the training does not hear.
        test_speaker: With --split-by speaker: whose sounds are the test split; by default the last fifth of them.
        seconds: Length of sound that the model looks at: a shorter sound is padded, of a longer one see --long.
        sample_rate: Samples per second of the model; by default those of the data set.
        channel: What becomes of two channels: the first one, or their mix.
        long: What becomes of a longer sound: its loudest window, or all windows one after the other.
        epochs: Passes over the data; by default 60.
        batch_size: Sounds per step; by default 32, and less for a small set, so that an epoch has 20 steps.
        learning_rate: Highest learning rate of the cycle.
        weight_decay: Decoupled weight decay of AdamW, of the kernels only.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        mixup: Largest share of another sound that is laid over each, in [0, 0.5].
        augment: Strength of the random speed, shift, equaliser and echo, with noise and gain; 0 for none.
        spec_augment: Strength of the random tempo and of the masks on the spectrogram; 0 for none.
        frontend: stft (all frequencies) or log_mel (bands).
        window: Seconds of each short-time spectrum.
        stride: Seconds from one spectrum to the next.
        mel_bins: Number of mel bands.
        architecture: plain or depthwise.
        filters: Filters of each stage of the network; by default those of the architecture.
        blocks: Residual blocks per stage of depthwise.
        dropout: Share of the last features dropped in training.
        weights: Model to start from: a published data set's name or a .keras file; it decides the network.
        setup: Seed, machine and folders.
    """
    arguments = dict(locals())
    _check(arguments)
    strategy = training.prepare(setup, weights)

    # data
    sound = {"sample_rate": sample_rate, "seconds": seconds, "channel": channel, "long": long}
    folders = {"data_dir": setup.data_dir, "manual_dir": setup.manual_dir}
    sounds = datasets(dataset, **sound, split_by=split_by, test_speaker=test_speaker, **folders)
    x, y = sounds.split("train")
    about = {"num_classes": len(sounds.class_names), "sample_rate": sounds.sample_rate}
    # a small set still gets 20 steps per epoch
    batch_size, steps, per_execution = training.plan(len(y), batch_size or min(32, max(1, len(y) // 20)), strategy)
    epochs = epochs or 60
    sizes = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "seed": setup.seed}

    altered = {"augment": augment, "mixup": mixup, "noise": sounds.noise}

    def batches(first_epoch):
        return audio.training_batches(x, y, **about, **sizes, first_epoch=first_epoch, **altered)

    with strategy.scope(), training.precision(setup.precision):
        # network
        model = zoo.spectrogram_cnn((sounds.samples,), **about, **_network_options(arguments, sounds.sample_rate))
        # optimiser: a fifth of warm-up lets so high a learning rate hold
        total = steps * epochs
        model.compile(
            training.adamw(learning_rate, weight_decay, steps=total, warm_up=total // 5),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=label_smoothing),
            metrics=["accuracy"],
            steps_per_execution=per_execution,
        )

    # machine: a run folder, and a fit that can be killed and resumed
    run = runs.start("spectrogram_cnn", train, arguments)
    card = _card(sounds, model, arguments) | runs.environment()
    print(f"{sounds.name}: {len(y):,} sounds for training, {model.count_params():,} parameters, {epochs} epochs")
    validation = audio.evaluation_batches(*sounds.split("validation"), num_classes=len(sounds.class_names))
    length = {"epochs": epochs, "steps": steps}
    trained = training.fit(model, batches, run=run, card=card, **length, validation=validation, monitor=None)
    checkpoints.save_model(trained, run.folder / "model.keras")
    return _measured(run, card, sounds, batch_size)


def _check(arguments):
    """Refuses arguments of `train` that make no sense."""
    training.check_positive(**training.named(arguments, "epochs", "batch_size", "learning_rate", "window", "stride"))
    training.check_range("[0, 1)", **training.named(arguments, "label_smoothing", "dropout"))
    training.check_range("[0, inf)", **training.named(arguments, "weight_decay"))
    training.check_range("[0, 2]", **training.named(arguments, "augment", "spec_augment"))
    training.check_range("[0, 0.5]", **training.named(arguments, "mixup"))


def _network_options(arguments, sample_rate):
    """What `zoo.spectrogram_cnn` is given of the arguments of `train`, the seconds as samples."""
    names = ("frontend", "mel_bins", "architecture", "filters", "blocks", "dropout", "weights")
    samples = {name: round(arguments[name] * sample_rate) for name in ("window", "stride")}
    return {name: arguments[name] for name in names} | samples | {"augment": arguments["spec_augment"]}


def _card(sounds, model, arguments):
    """What the card says before anything is measured."""
    about = cards.dataset_entry(sounds) | {"classes": sounds.class_names}
    if arguments["split_by"] == "speaker":
        about["test_speakers"] = sorted(set(sounds.groups["test"]))
    return {
        "name": "spectrogram_cnn",
        "builder": "spectrogram_cnn",
        "task": TASK,
        "dataset": about,
        "sound": {"sample_rate": sounds.sample_rate}
        | {name: arguments[name] for name in ("seconds", "channel", "long")},
        "parameters": model.count_params(),
        "licence": cards.licence(sounds.licence),
    }


def _measured(run, card, sounds, batch_size):
    """Measures what a run wrote, and gives what `train` gives back."""
    classifier = Classifier(run.folder, card=card)
    x, y = sounds.split("test")
    figures = measure(classifier, x, y, sounds.class_names, run.folder, groups=sounds.groups["test"])
    plots.curves(run.history, run.folder / "curves.png")
    return results.trained(
        run,
        card,
        figures,
        batch_size=batch_size,
        validation={"accuracy": run.history[-1]["val_accuracy"]},
        metrics=["accuracy"],
        measured_on=f"{sounds.name}, test",
        latency_ms=timing.latency(lambda: classifier(x[:1])),
        message=f"test accuracy {figures['metrics']['accuracy']:.4f}",
    )


def evaluate(
    *,
    model: str = "spectrogram_cnn",
    dataset: str = "sounds",
    split: Split | None = None,
    split_by: Literal["class", "speaker"] = "class",
    test_speaker: str | None = None,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Measures a model: accuracy, by class and by speaker, confusion matrix, calibration, sheets of spectrograms.

    Args:
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        dataset: sounds, a folder of class/*.wav or class_*.wav, or a name of tensorflow-datasets (spoken_digit, ...).
        split: Part of the data set to measure on; by default test, and all of a folder that has no test split and that
            the model was not trained on.
        split_by: class or speaker, as in training.
        test_speaker: With --split-by speaker: whose sounds are the test split; by default the last fifth of them.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the pictures and evaluation.json; by default a new one under runs/spectrogram_cnn.
    """
    classifier = Classifier(model)
    if split is None:
        new = Path(dataset).is_dir() and not has_test(dataset) and not classifier.has_heard(dataset)
        split = "all" if new and split_by == "class" else "test"
    sounds = classifier.datasets(
        dataset,
        split_by=split_by,
        test_speaker=test_speaker,
        complete=split != "all",
        data_dir=data_dir,
        manual_dir=manual_dir,
    )
    split = {"val": "validation"}.get(split, split)
    x, y = sounds.split(split)
    y = classifier.match_labels(sounds.class_names, y)
    folder = runs.output_folder("spectrogram_cnn", f"evaluate-{sounds.name}", output)
    groups = [one for part in sounds.groups for one in sounds.groups[part] if split in ("all", part)]
    figures = {
        "model": classifier.path,
        "dataset": sounds.name,
        "split": split,
        "sounds": len(y),
        "skipped_files": len(sounds.skipped),
        **measure(classifier, x, y, classifier.labels, folder, groups=groups),
    }
    message = f"accuracy {figures['metrics']['accuracy']:.4f} on {len(y):,} sounds of {sounds.name} ({split})"
    if figures["per_speaker"]:
        message = f"{results.table(figures['per_speaker'])}\n\n{message}"
    return results.evaluated(folder, figures, figures["per_class"], message)


def export(
    *,
    model: str = "spectrogram_cnn",
    format: tuple[Literal["saved_model", "tflite", "onnx"], ...] = ("tflite",),
    quantize: tuple[Literal["none", "float16", "dynamic", "int8"], ...] = ("none",),
    batch: int = 1,
    input: Literal["int16", "int32", "float32"] = "int16",
    stream: float | None = 0.25,
    dataset: str = "sounds",
    split: Split = "test",
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
    output: Path | None = None,
):
    """Exports a Keras model (PCM in, probabilities out) and measures every file that it wrote.

    SavedModel and TFLite files have a second signature, "stream": the newest samples and a memory in, the probabilities
    for the window that ends with them and the next memory out. In int8 the spectrogram stays in float32.

    Args:
        model: A published model, a run folder or a .keras file.
        format: One or more formats.
        quantize: One or more precisions of the TFLite files.
        batch: Examples that a file takes at a time.
        input: Type of the samples: int16 as a microphone gives them, the same numbers as int32 (a browser's LiteRT has
            no int16), or float32 in [-1, 1].
        stream: Seconds of new samples per call of the signature "stream"; 0 leaves it out.
        dataset: Data to measure the accuracy on; its training split shows int8 the range of the activations. Where it
            has other classes than the model, the agreement with the Keras model is measured instead.
        split: Part of the data set to measure on.
        data_dir: Folder of tensorflow-datasets.
        manual_dir: Folder with the data set's original files, for a machine without a network.
        output: Folder for the files and their card; by default a new one under runs/spectrogram_cnn.
    """
    files = exports.plan(format, quantize, batch)
    classifier = Classifier(model).keras_only()
    if not 0 <= stream <= classifier.seconds:
        raise ValueError(f"stream must be in 0 to the model's {classifier.seconds:g} seconds, got {stream}")
    sounds = classifier.datasets(dataset, data_dir=data_dir, manual_dir=manual_dir)
    x, y = sounds.split(split)
    reference = classifier(x)
    metric = "accuracy"
    if set(sounds.class_names) <= set(classifier.labels):
        y = classifier.match_labels(sounds.class_names, y)
    else:
        y, metric = reference.argmax(axis=1), "agreement"
        print(f"{sounds.name} has other classes than the model: measured is how often a file says what the model says")
    folder = runs.output_folder("spectrogram_cnn", "export", output)
    endpoints = {exporting.ENDPOINT: exporting.sound_endpoint(classifier.model, input)}
    new = round(stream * classifier.sample_rate)
    if new:
        endpoints["stream"] = exporting.stream_endpoint(classifier.model, new, input)
    training_split = sounds.split("train" if "train" in sounds.splits else split)[0]
    samples = _as_input(exports.some_of(training_split, 200), input)
    before = np.concatenate([np.zeros_like(samples[:, :new]), samples[:, : samples.shape[1] - new]], axis=1)
    representative_data = {exporting.ENDPOINT: {"waveform": samples}}
    if new:
        representative_data["stream"] = {"samples": samples[:, samples.shape[1] - new :], "memory": before}

    def measured(path):
        exported = Classifier(path)
        found = exported(x)
        milliseconds = timing.latency(lambda: exported(x[:1]))
        return {
            "metrics": {metric: float((found.argmax(axis=1) == y).mean())},
            "measured_on": f"{sounds.name}, {split}",
            "max_abs_difference": float(np.abs(found - reference).max()),
            "latency_ms": round(milliseconds, 4),
            "real_time_factor": round(1000 * classifier.seconds / milliseconds, 1),
        }

    entries = exports.write_all(
        folder,
        files,
        classifier,
        batch=batch,
        # an ONNX file holds one endpoint
        endpoints=lambda format: {exporting.ENDPOINT: endpoints[exporting.ENDPOINT]} if format == "onnx" else endpoints,
        metadata=exporting.sound_metadata(classifier.model, classifier.sound, input),
        representative_data=representative_data,
        measured=measured,
    )
    value = float((reference.argmax(axis=1) == y).mean())
    print(f"\nKeras: {metric} {value:.4f} on {len(y):,} sounds of {sounds.name} ({split}); files are in {folder}")
    return {
        "output": folder,
        "dataset": sounds.name,
        "split": split,
        "metrics": {metric: value},
        "files": entries,
    }


class Classifier(listening.Listening, models.TrainedModel):
    """Any form of a trained classifier: int16 waveforms (count, samples) to probabilities."""

    name, task = "spectrogram_cnn", TASK

    def __init__(self, model, *, card=None):
        super().__init__(model, card=card)
        if self.exported:
            shape, self.dtype = self.model.inputs.get("waveform", ((), ""))
            if len(shape) != 2 or "spectrogram" not in self.about:
                raise ValueError(f"{self.path} does not take sound: its inputs are {self.model.inputs}")
            settings, samples, sound = self.about["spectrogram"], shape[1], self.about["sound"]
            outputs = self.model(waveform=np.zeros(shape, self.dtype))["probabilities"].shape
        else:
            front = [layer for layer in getattr(self.model, "layers", ()) if isinstance(layer, Spectrogram)]
            if len(front) != 1:
                raise ValueError(f"{self.path} does not take sound: it has no spectrogram in it")
            names = ("sample_rate", "window", "stride", "mel_bins")
            settings = {name: getattr(front[0], name) for name in names}
            samples, sound = self.model.input_shape[1], self.card.get("sound", {})
            outputs = self.model.output_shape
            self._run = compiled(self.model, (samples,))
        self.listen(settings, samples, sound, self.labels or range(outputs[-1]))

    def datasets(self, dataset, **options):
        """A data set brought to this model's rate and window."""
        return datasets(dataset, **self.sound, **options)

    def has_heard(self, folder):
        """Whether this model was trained on a folder of that name."""
        heard = self.card.get("dataset", {})  # a folder has no version
        return heard.get("name") == Path(folder).resolve().name and not heard.get("version")

    def __call__(self, waveforms):
        if isinstance(self.model, keras.Model):
            parts = range(0, len(waveforms), 250)
            return np.concatenate([self._run(waveforms[start : start + 250] / np.float32(32768)) for start in parts])
        waveforms = _as_input(waveforms, self.dtype)
        return self.model(waveform=waveforms)["probabilities"]

    def grad_cam(self, waveforms, label):
        if not isinstance(self.model, keras.Model):
            return None
        last = self.model.get_layer("features").input
        features = np.asarray(keras.Model(self.model.input, last)(waveforms / np.float32(32768), training=False))
        head = keras.Model(last, self.model.output)

        def score(features):
            return keras.ops.log(head(features, training=False)[:, label] + 1e-9)

        weights = gradient(score, features).mean(axis=(1, 2), keepdims=True)
        heat = np.maximum((weights * features).sum(axis=-1), 0)[0]
        return (heat / (heat.max() + 1e-9)).T[::-1]


def measure(classifier, waveforms, labels, class_names, folder, *, groups=()):
    """Figures and pictures of a classifier on one split, the pictures written into `folder`."""
    probabilities = classifier(waveforms)
    guesses, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = guesses == labels
    error = expected_calibration_error(probabilities, labels)
    true = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1)

    plots.confusion_matrix(
        confusion_matrix(labels, guesses, labels=range(len(class_names))),
        class_names,
        folder / "confusion_matrix.png",
        what="sounds",
    )
    plots.calibration(confidences, correct, error, folder / "calibration.png", what="sounds")

    def sheet(chosen, file, title):
        images = [np.uint8(255 * classifier.image(waveforms[i] / np.float32(32768)))[..., None] for i in chosen]
        names = [class_names[labels[i]] + ("" if correct[i] else f", not {class_names[guesses[i]]}") for i in chosen]
        captions = [f"{name}\n{confidences[i]:.0%} sure" for name, i in zip(names, chosen, strict=True)]
        plots.sheet(images, captions, folder / file, title=title)

    sheet(
        [index for label in np.unique(labels) for index in np.flatnonzero(labels == label)[:8]][:240],
        "classes.png",
        "eight of each class, time to the right, frequency upwards",
    )
    worst = [index for index in np.argsort(-confidences) if not correct[index]][:32]
    wrong = int((~correct).sum())
    sheet(worst, "mistakes.png", f"{wrong:,} mistakes on {len(labels):,} sounds, the most confident first")
    groups = np.array(groups, dtype=object)
    speakers = sorted(set(groups)) if len(groups) and "" not in groups else []
    return {
        "metrics": {
            "accuracy": float(correct.mean()),
            "log_loss": float(-np.log(true).mean()),
            "expected_calibration_error": float(error),
        },
        "per_class": results.per_class(labels, guesses, class_names, "sounds"),
        "per_speaker": [
            {
                "speaker": name,
                "accuracy": float(correct[groups == name].mean()),
                "sounds": int((groups == name).sum()),
            }
            for name in speakers
        ],
    }


def _as_input(waveforms, dtype):
    return waveforms / np.float32(32768) if dtype == "float32" else waveforms.astype(dtype)
