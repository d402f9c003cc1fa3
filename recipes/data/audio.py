"""Sounds with a class each: an embedded synthesised set, tensorflow-datasets by name, or a folder of sound files.

A split is held in memory as int16, each sound one window of the same length at one rate: a shorter sound stands in the
middle of zeros, of a longer one the loudest window is taken, or all windows ("windows"). The augmentation is all in
tf.data and on waveforms, so that the model's own front end sees its result.
"""

import re
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from recipes.data import draws, images, notes, synthesis
from recipes.data import splits as split_data
from recipes.data.images import SPLITS, stream, without_autotune
from recipes.data.sound_files import SUFFIXES, Channel, files  # noqa: F401 - asked for beside the data
from recipes.data.splits import walk
from zoo import waveforms
from zoo.waveforms import check_rate, fit, one_channel, pcm, read_channels, resample

NOISE = "_background_noise_"  # the folder of Speech Commands that is no class
LISTS = {"validation": ("validation_list.txt",), "test": ("testing_list.txt", "test_list.txt")}  # its splits
LICENCES = {"spoken_digit": "CC BY-SA 4.0"}  # where tensorflow-datasets does not say
OFFLINE = "without a network: --dataset sounds, or --dataset FOLDER of class/*.wav, or --manual-dir with its files"

Long = Literal["loudest", "windows"]


@dataclass(frozen=True)
class AudioDataset:
    """A data set in memory.

    Attributes:
        name: Its name, or the name of its folder.
        class_names: One name per class, in the order of the labels.
        splits: Split name to (waveforms, labels): int16 (count, samples) and int32 (count,).
        groups: Split name to the speaker or source of each waveform, "" where its name does not tell.
        sample_rate: Samples per second.
        version: Version as its publisher gives it, or "".
        licence: Licence as its publisher gives it, or "".
        skipped: Files that could not be read.
        left_out: Suffix to number of the files of a folder that are no sounds by their suffix.
        noise: int16 (samples,), recordings of noise alone to lay under the sounds of the training, or None.
    """

    name: str
    class_names: tuple
    splits: dict
    groups: dict
    sample_rate: int
    version: str = ""
    licence: str = ""
    skipped: tuple = field(default=())
    left_out: dict = field(default_factory=dict)
    noise: np.ndarray | None = None

    @property
    def samples(self):
        return next(iter(self.splits.values()))[0].shape[1]

    def split(self, name):
        """(waveforms, labels) of "train", "validation" (also "val"), "test" or "all"."""
        name = {"val": "validation"}.get(name, name)
        if name == "all":
            waveforms, labels = zip(*self.splits.values(), strict=True)
            return np.concatenate(waveforms), np.concatenate(labels)
        if name not in self.splits:
            raise ValueError(f"the split must be one of {', '.join(self.splits)}, all; got {name!r}")
        return self.splits[name]


@dataclass
class _Clips:
    """The sounds of a split before the splits that are missing are cut: lists with one entry per file; int16."""

    waveforms: list
    labels: list
    groups: list


def load(
    dataset,
    *,
    sample_rate=None,
    seconds=1.0,
    channel="first",
    long="loudest",
    split_by=None,
    test_speaker=None,
    complete=True,
    data_dir=None,
    manual_dir=None,
):
    """Loads a data set.

    Args:
        dataset: "sounds" (embedded, see `recipes.data.synthesis`); a folder `class/*.wav` or
            `train|validation|test/class/*.wav`, or a flat one whose file names begin with the class
            (`7_jackson_32.wav`); or the name of any set of tensorflow-datasets with sound and labels.
        sample_rate: Rate to bring the sounds to; None keeps that of the set, or of the folder's first file.
        seconds: Length of the window that each sound is brought to.
        channel: What becomes of two channels: the "first" one, or their "mix".
        long: What becomes of a longer sound: its "loudest" window, or all "windows" one after the other.
        split_by: None cuts the splits that are missing by class; "speaker" keeps all of a speaker on one side.
        test_speaker: With "speaker": whose sounds are the test split; None takes the last fifth of the speakers.
        complete: Whether to cut the splits that the set lacks; without, a folder is all "train".
        data_dir: Where tensorflow-datasets keeps its files (its own default when None).
        manual_dir: Folder with the original files of the set, got by hand, for a machine without a network.

    Returns:
        An `AudioDataset` with the splits "train", "validation" and "test". A split by speaker takes all sounds of the
        set, whatever the publisher's own splits, and cuts the validation split from the other speakers by class.

    Raises:
        ValueError: If there is no such data set, it is not one of labelled sounds, or it cannot be downloaded.
    """
    if not 0.05 <= seconds <= 60:
        raise ValueError(f"seconds must be in [0.05, 60], got {seconds}")
    if sample_rate is not None:
        check_rate("sample_rate", sample_rate)
    if test_speaker is not None and split_by != "speaker":
        raise ValueError(f"test_speaker={test_speaker} goes with split_by=speaker, got split_by={split_by}")
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise ValueError(f"there is no folder {manual_dir} (manual_dir)")
    if dataset == "sounds":
        about, clips = _load_sounds(sample_rate or 8000)
    elif Path(dataset).is_dir():
        about, clips = _load_folder(Path(dataset), sample_rate, channel)
    elif dataset.startswith((".", "/", "~")) or dataset.endswith("/"):
        raise ValueError(f"there is no folder {dataset}")
    else:
        about, clips = _load_tfds(dataset, sample_rate, channel, data_dir, manual_dir)
    if split_by == "speaker":
        clips = _by_speaker(clips, test_speaker, about["name"])
    samples = round(seconds * about["sample_rate"])
    if complete:
        clips = _complete(clips, about["class_names"])
    splits, groups = {}, {}
    for name, part in clips.items():
        pieces = [fit(waveform, samples, long) for waveform in part.waveforms]
        source = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
        splits[name] = np.concatenate(pieces), np.array(part.labels, np.int32)[source]
        groups[name] = [part.groups[index] for index in source]
    return AudioDataset(splits=splits, groups=groups, **about)


def read(path, sample_rate, channel="first"):
    """As `zoo.waveforms.read`; what is told is gathered."""
    return waveforms.read(path, sample_rate, channel, notes.tell)


def speaker(name):
    """The speaker or source that a file name tells, or "": CLASS_SPEAKER_NUMBER.wav or SPEAKER_nohash_NUMBER.wav."""
    match = re.fullmatch(r"(\w+)_nohash_\d+|[^_]+_(.+)_\d+", Path(name).stem)
    return (match[1] or match[2]) if match else ""


# Augmentation


def training_batches(
    waveforms,
    labels,
    *,
    num_classes,
    sample_rate,
    batch_size,
    steps,
    epochs,
    first_epoch=0,
    seed=0,
    augment=0.0,
    mixup=0.0,
    noise=None,
):
    """One stream of all epochs, without an end between two: float32 waveforms in [-1, 1] and one-hot labels.

    The order and the augmentation of a batch depend on nothing but the seed, the epoch and its number, so a resumed
    training hears what an uninterrupted one would have.

    Args:
        waveforms: int16 (count, samples).
        labels: int (count,).
        num_classes: Width of the one-hot labels.
        sample_rate: Samples per second.
        batch_size: Sounds per batch.
        steps: Batches per epoch, at most count // batch_size.
        epochs: Number of epochs of the whole training.
        first_epoch: Where a resumed training goes on.
        seed: Seed of order and augmentation.
        augment: Strength of the augmentation, 0 for none; see `alter`.
        mixup: Largest share of another sound that is laid over, 0 for none; see `mix`.
        noise: int16 (any length,), recordings of noise alone; with `augment` a part of them is laid under most sounds.
    """
    with tf.device("cpu"):
        waveforms, labels = tf.constant(waveforms), tf.constant(labels, tf.int32)
        if noise is not None:
            noise = tf.constant(np.resize(noise, max(len(noise), waveforms.shape[1] + 1)) / np.float32(32768))

    def batch(step, chosen):
        x = tf.cast(tf.gather(waveforms, chosen), tf.float32) / 32768.0
        if augment:
            x = alter(x, [seed, step], sample_rate=sample_rate, strength=augment)
            x = x if noise is None else lay_under(x, noise, [seed + 2, step])
        y = tf.one_hot(tf.gather(labels, chosen), num_classes)
        return mix(x, y, [seed + 1, step], mixup) if mixup else (x, y)

    order = {"batch_size": batch_size, "steps": steps, "epochs": epochs, "first_epoch": first_epoch, "seed": seed}
    return stream(batch, len(labels), **order, whole=bool(mixup))


def evaluation_batches(waveforms, labels, *, num_classes, batch_size=256):
    """A split in order: float32 waveforms in [-1, 1] and one-hot labels."""
    # a first batch that replicas share evenly: Keras averages it over them to build the model
    batch_size = min(batch_size, 1 << (len(labels).bit_length() - 1))
    examples = tf.data.Dataset.from_tensor_slices((waveforms, labels)).batch(batch_size)
    examples = examples.map(lambda x, y: (tf.cast(x, tf.float32) / 32768.0, tf.one_hot(y, num_classes)))
    return without_autotune(examples.prefetch(2))


def alter(waveforms, seed, *, sample_rate, strength=1.0):
    """Makes another recording of each sound of a batch, by another voice in another room; same seed, same result.

    At strength 1, each drawn on its own: speed and with it the pitch and the resonances, as of a shorter or longer
    vocal tract, by up to 28 %; a shift of up to a fifth of the window; an equaliser of some 10 dB; in half of the
    sounds an echo of up to 0.1 s; in three quarters noise from blue to brown, as loud as the sound or up to 45 dB
    below; and a gain within 10 dB.

    Args:
        waveforms: float32 (batch, samples) in [-1, 1].
        seed: Two integers.
        sample_rate: Samples per second.
        strength: Factor of all of these but noise and gain, in (0, 2].

    Returns:
        float32, same shape, in [-1, 1].
    """
    number_seed, curve_seed, echo_seed, noise_seed = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 4))
    count, samples = tf.shape(waveforms)[0], waveforms.shape[1]
    numbers = draws.uniform((10, count, 1), number_seed, axis=1)

    def drawn(row, low, high):
        return low + (high - low) * numbers[row]

    x = respeed(waveforms, tf.exp(drawn(0, -0.25, 0.25) * strength), drawn(1, -0.2, 0.2) * strength * samples)
    sounding = tf.cast(tf.abs(x) > 1e-4, tf.float32)
    power = tf.reduce_sum(x * x, axis=1, keepdims=True) / (tf.reduce_sum(sounding, axis=1, keepdims=True) + 1.0)

    # equaliser and echo in one go, as factors of the spectrum
    length = samples + samples // 5  # room for the echo
    waves = _waves(length // 2 + 1)
    decibels = tf.matmul(strength * draws.normal((count, len(waves)), curve_seed), waves)
    loud = tf.where(numbers[2] < 0.5, 0.0, drawn(3, 0.0, 0.7) * strength)
    echo = _echo(echo_seed, 0.01 * 10.0 ** numbers[4], loud, sample_rate, samples // 5)
    factor = tf.signal.rfft(echo, [length]) * tf.cast(10.0 ** (decibels / 20), tf.complex64)
    changed = tf.signal.irfft(tf.signal.rfft(x, [length]) * factor, [length])[:, :samples]

    # the noise of a recording ends where it was cut, that of a room does not
    cut = tf.cast(tf.cumsum(sounding, axis=1) * tf.cumsum(sounding, axis=1, reverse=True) > 0, tf.float32)
    level = tf.where(numbers[5] < 0.25, 0.0, tf.sqrt(power) * 10.0 ** (-drawn(6, 0.0, 45.0) / 20))
    noise = level * tf.where(numbers[9] < 0.7, cut, 1.0) * _coloured_noise(noise_seed, drawn(7, -1.0, 2.0), samples)
    return tf.clip_by_value((changed + noise) * 10.0 ** (drawn(8, -10.0, 10.0) / 20), -1.0, 1.0)


def lay_under(waveforms, noise, seed):
    """Lays a random part of a recording of noise under seven of ten sounds of a batch, as loud to 40 dB below.

    Args:
        waveforms: float32 (batch, samples) in [-1, 1].
        noise: float32 (longer than samples,).
        seed: Two integers.

    Returns:
        float32, same shape, in [-1, 1].
    """
    count, samples = tf.shape(waveforms)[0], waveforms.shape[1]
    draw = draws.uniform((3, count, 1), seed, axis=1)
    starts = tf.cast(draw[0] * tf.cast(tf.shape(noise)[0] - samples, tf.float32), tf.int32)
    parts = tf.gather(noise, starts + tf.range(samples))

    def loudness(x):
        return tf.sqrt(tf.reduce_mean(x * x, axis=1, keepdims=True))

    gain = loudness(waveforms) / (loudness(parts) + 1e-6) * 10.0 ** (-2 * draw[1])
    return tf.clip_by_value(waveforms + tf.where(draw[2] < 0.7, gain, 0.0) * parts, -1.0, 1.0)


def mix(waveforms, targets, seed, strength):
    """Lays the next sound of a batch, made as loud, over each, and mixes the targets alike (mixup; Zhang et al., 2018).

    Args:
        waveforms: float32 (batch, samples).
        targets: float32 (batch, classes).
        seed: Two integers.
        strength: Largest share of the other sound, in [0, 0.5].

    Returns:
        (waveforms, targets), same shapes.
    """
    share = tf.random.stateless_uniform((tf.shape(waveforms)[0], 1), seed, 0.0, strength)
    power = tf.reduce_mean(waveforms**2, axis=1, keepdims=True) + 1e-9
    other = tf.roll(waveforms * tf.sqrt(tf.minimum(tf.roll(power, -1, axis=0) / power, 100.0)), 1, axis=0)
    mixed = tf.clip_by_value((1 - share) * waveforms + share * other, -1.0, 1.0)
    return mixed, (1 - share) * targets + share * tf.roll(targets, 1, axis=0)


def respeed(waveforms, speed, shift):
    """Plays each waveform of a batch faster (speed > 1, all frequencies rise) or slower, about its middle, and later.

    Args:
        waveforms: float32 (batch, samples).
        speed: float32 (batch, 1).
        shift: Samples to move each to the right, float32 (batch, 1).

    Returns:
        float32, same shape; silence outside.
    """
    samples, finer = waveforms.shape[1], 2
    middle = (samples - 1) / 2
    # straight lines between the points of a finer grid, as a picture of one row: far faster than gathering
    x = finer * tf.signal.irfft(tf.signal.rfft(waveforms), [finer * samples])
    zero, one = tf.zeros_like(speed), tf.ones_like(speed)
    rows = [finer * speed, zero, finer * (middle - speed * (middle + shift)), zero, one, zero, zero, zero]
    x = tf.raw_ops.ImageProjectiveTransformV3(
        images=x[:, None, :, None],
        transforms=tf.concat(rows, axis=1),
        output_shape=(1, samples),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return x[:, 0, :, 0]


def _waves(bins):
    """Parts of an equaliser's curve, in decibels: five cosines over the logarithm of the frequency, (5, bins)."""
    place = np.log(np.arange(bins) + bins / 40)
    place = (place - place[0]) / (place[-1] - place[0])
    # microphones differ most in the tilt from low to high frequencies
    return np.float32([[10], [6], [4], [3], [2]] * np.cos(np.pi * np.outer(np.arange(1, 6), place)))


def _echo(seed, decay, loud, sample_rate, length):
    """Responses of a room, (batch, length): the sound itself, and noise that dies away in `decay` seconds."""
    time = np.arange(length, dtype=np.float32) / sample_rate
    tail = draws.normal((tf.shape(decay)[0], length), seed) * tf.exp(-time / decay)
    tail *= np.float32(time > 0.002)
    tail *= loud / tf.sqrt(tf.reduce_sum(tail * tail, axis=1, keepdims=True) + 1e-9)
    return tail + np.eye(1, length, dtype=np.float32)


def _coloured_noise(seed, colour, samples):
    """Noise (batch, samples) of mean square 1 whose power falls with the frequency to the power of `colour`."""
    bins = samples // 2 + 1
    frequency = np.maximum(np.arange(bins, dtype=np.float32), bins / 80) / bins
    normal = draws.normal((2, tf.shape(colour)[0], bins), seed, axis=1) * frequency ** (-colour / 2)
    normal *= samples / tf.sqrt(2 * tf.reduce_sum(normal**2, axis=(0, 2)))[:, None]
    return tf.signal.irfft(tf.complex(normal[0], normal[1]), [samples])


# Loading


def _load_sounds(sample_rate):
    waveforms, labels = synthesis.synthesise(sample_rate=sample_rate)
    clips = _Clips(list(waveforms), list(labels), [""] * len(labels))
    about = {"name": "sounds", "class_names": synthesis.CLASSES, "sample_rate": sample_rate}
    return about | {"version": "1", "licence": "Apache-2.0"}, {"train": clips}


def _load_folder(folder, sample_rate, channel):
    listed = _listed_splits(folder)
    roots = {"train": [folder]} if listed else split_data.roots(folder, lambda path: any(files(path)))
    found = {}
    for split, parts in roots.items():
        for root in parts:
            for path in files(root):
                name = _class_of(path, root)
                if name != NOISE:
                    found.setdefault(listed.get(path, split), []).append((path, name))
    others = [path for parts in roots.values() for root in parts for path in walk(root)]
    lists = [name for names in LISTS.values() for name in names]
    others = [path for path in others if path.suffix.lower() not in SUFFIXES and path.name not in lists]
    left_out = notes.left_out(folder, [path for path in others if NOISE not in path.parts], "sounds")
    names = sorted({name for entries in found.values() for _, name in entries})
    if not names:
        raise ValueError(f"{folder} has no sounds: it should hold class/*.wav (or FLAC, OGG), or CLASS_*.wav")
    if len(names) < 2:
        raise ValueError(f"{folder} has one class, {names[0]}: a classifier needs two or more")
    skipped, clips = [], {}
    for split, entries in found.items():
        if sample_rate is None:
            sample_rate = _first_rate(path for path, _ in entries)

        def read_or_none(entry, sample_rate=sample_rate):
            try:
                return pcm(read(entry[0], sample_rate, channel))
            except ValueError as error:
                print(f"skipped: {error}", file=sys.stderr)
                return None

        with notes.gathered(), ThreadPoolExecutor() as pool:
            waveforms = list(pool.map(read_or_none, entries))
        skipped += [str(path) for (path, _), waveform in zip(entries, waveforms, strict=True) if waveform is None]
        good = [(waveform, *entry) for waveform, entry in zip(waveforms, entries, strict=True) if waveform is not None]
        if good:
            waveforms, paths, classes = zip(*good, strict=True)
            clips[split] = _Clips(
                list(waveforms), [names.index(name) for name in classes], [speaker(path) for path in paths]
            )
    if not clips:
        raise ValueError(f"{folder} has no sound that can be read: {len(skipped)} files were skipped")
    about = {"name": folder.resolve().name, "class_names": tuple(names), "sample_rate": sample_rate}
    noise = [pcm(read(path, sample_rate, channel)) for path in files(folder) if NOISE in path.parts]
    if noise:
        print(f"{folder}: {len(noise)} recordings of {NOISE} are laid under the sounds of the training")
        about["noise"] = np.concatenate(noise)
    return about | {"skipped": tuple(skipped), "left_out": left_out}, clips


def _listed_splits(folder):
    """Path to split as the lists of Speech Commands have it; nothing where there are none."""
    found = {}
    for split, names in LISTS.items():
        for name in names:
            if (folder / name).is_file():
                for line in (folder / name).read_text(encoding="utf-8-sig").split("\n"):
                    path = folder / line.strip().replace("\\", "/")
                    if line.strip() and not path.is_file():
                        raise ValueError(f"{folder / name} names {line.strip()}, which is not there")
                    found[path] = split
    return found


def _class_of(path, root):
    """The folder right below the root, or in a flat folder the part of the file name before the first "_" or "-"."""
    parts = path.relative_to(root).parts
    return parts[0] if len(parts) > 1 else re.split("[_-]", path.stem)[0]


def _first_rate(paths):
    for path in paths:
        try:
            return read_channels(path)[1]
        except ValueError:
            continue
    return 8000


def _load_tfds(dataset, sample_rate, channel, data_dir, manual_dir):
    import tensorflow_datasets as tfds

    builder = images.tfds_builder(dataset, data_dir, embedded="sounds")
    features = builder.info.features
    kinds = {"audio": tfds.features.Audio, "label": tfds.features.ClassLabel}
    if not all(name in (features or {}) and isinstance(features[name], kind) for name, kind in kinds.items()):
        raise ValueError(f"{dataset} is not a set of labelled sounds: it has {', '.join(features or [])}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydub looks for ffmpeg, which no WAV file needs
        images.download(builder, manual_dir, OFFLINE)
    rate = features["audio"].sample_rate or 16_000
    sample_rate = sample_rate or rate
    clips = {}
    for split in (name for name in SPLITS if name in builder.info.splits):
        part = _Clips([], [], [])
        for example in tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)):
            waveform = example["audio"]
            if waveform.dtype.kind == "i":
                waveform = waveform / 32768  # tensorflow-datasets keeps 16 bits, whatever its type
            waveform = np.float32(waveform).reshape(len(waveform), -1)
            part.waveforms.append(pcm(resample(one_channel(waveform, channel), rate, sample_rate)))
            part.labels.append(int(example["label"]))
            name = example.get("audio/filename", b"").decode()
            part.groups.append((speaker(name), name))
        clips[split] = part
    if dataset == "spoken_digit":
        clips = _recordings_0_to_4_are_the_test(clips["train"])
    for part in clips.values():
        part.groups = [group for group, _ in part.groups]
    about = {"name": dataset, "class_names": tuple(features["label"].names), "sample_rate": sample_rate}
    licence = builder.info.redistribution_info.license or LICENCES.get(dataset, "")
    return about | {"version": str(builder.info.version), "licence": licence}, clips


def _recordings_0_to_4_are_the_test(clips):
    """The publisher's own split of the spoken digits, which tensorflow-datasets leaves out."""
    test = [int(Path(name).stem.split("_")[2]) < 5 for _, name in clips.groups]
    return {"train": _choose(clips, np.flatnonzero(~np.array(test))), "test": _choose(clips, np.flatnonzero(test))}


def _choose(clips, indices):
    return _Clips(*([column[index] for index in indices] for column in (clips.waveforms, clips.labels, clips.groups)))


def _by_speaker(clips, test_speaker, name):
    """All sounds as "train" and "test", no speaker in both."""
    parts = clips.values()
    whole = _Clips(*([one for part in parts for one in getattr(part, column)] for column in vars(next(iter(parts)))))
    speakers = sorted(set(whole.groups))
    if "" in speakers or len(speakers) < 2:
        raise ValueError(
            f"{name} cannot be split by speaker: the names should be CLASS_SPEAKER_NUMBER.wav of two speakers or more, "
            f"found {', '.join(filter(None, speakers)) or 'none'}"
        )
    if test_speaker is not None and test_speaker not in speakers:
        raise ValueError(f"there is no speaker {test_speaker!r} in {name}: accepted are {', '.join(speakers)}")
    held_out = [test_speaker] if test_speaker is not None else speakers[-max(1, len(speakers) // 5) :]
    is_test = np.array([group in held_out for group in whole.groups])
    return {"train": _choose(whole, np.flatnonzero(~is_test)), "test": _choose(whole, np.flatnonzero(is_test))}


def _complete(clips, class_names):
    """Adds the splits that a data set lacks, cut from "train" by class."""
    fractions = {"validation": 0.1, "test": 0.2}
    missing = [name for name in fractions if name not in clips]
    if "train" in clips and missing:
        labels = np.array(clips["train"].labels)
        counts = np.bincount(labels, minlength=len(class_names))
        if counts.min() < 1 + len(missing):
            few = class_names[int(counts.argmin())]
            raise ValueError(
                f"class {few} has {counts.min()} readable sounds: the splits need {1 + len(missing)} per class"
            )
        rest, *cuts = images.cut(labels, [fractions[name] for name in missing])
        parts = {name: _choose(clips["train"], cut) for name, cut in zip(missing, cuts, strict=True)}
        clips = {**clips, **parts, "train": _choose(clips["train"], rest)}
    return {name: clips[name] for name in SPLITS if name in clips}
