"""What is to be heard."""

import csv
import io
import sys
from pathlib import Path

import matplotlib  # noqa: F401 - pictures need it, and it is better missed before anything is written
import numpy as np
import soundfile
from tyro.conf import Positional

from recipes import cards, inputs, listening, plots, results, runs
from recipes.checks import check_positive
from recipes.data import sound_files
from recipes.pictures import spectrogram_cnn as pictures
from recipes.predictions.opening import Backend, is_light, opened
from recipes.quiet import silent_start
from zoo import waveforms
from zoo.atomic import atomic

TASK = "sound classification"


def predict(
    paths: Positional[tuple[Path, ...]] = (),
    *,
    model: str = "spectrogram_cnn",
    backend: Backend = "litert",
    microphone: float | None = None,
    window: float | None = None,
    hop: float | None = None,
    channel: sound_files.Channel | None = None,
    spectrogram: Path | None = None,
    bare: bool = False,
    output: Path | None = None,
):
    """Names what is to be heard: a table, also as CSV and JSON, and for each sound a picture of what the model saw.

    The label of a sound longer than the model's window is that of its loudest window; what is heard when is in the
    timeline. The picture shows the waveform of each channel, the spectrum with its strongest frequencies, the
    spectrogram, where on it the model looked (Grad-CAM, for Keras models), and the timeline.

    Args:
        paths: Sound files (WAV, FLAC, OGG, ...) and folders of them.
        model: A published model, a run folder, or a .keras, .tflite, .onnx file or SavedModel folder.
        backend: litert takes the phone file of a published model, keras its Keras model, which starts slowly and also
            shows where on the spectrogram it looked.
        microphone: Seconds to record and to name, beside or instead of files.
        window: Seconds of each entry of the timeline, at most and by default the model's own.
        hop: Seconds from one entry of the timeline to the next; by default half a window.
        channel: What becomes of two channels: the first one, or their mix; by default as the model was trained.
        spectrogram: Where to write the spectrogram of one sound as a picture of its own (PNG).
        bare: Whether that picture is the image alone, without axes and colour bar.
        output: Folder for the results; by default a new one under runs/spectrogram_cnn.
    """
    check_positive(microphone=microphone, window=window, hop=hop)
    if bare and spectrogram is None:
        raise ValueError("--bare goes with --spectrogram PICTURE.png")
    if spectrogram is not None and spectrogram.suffix.lower() != ".png":
        raise ValueError(f"--spectrogram is a name of a PNG picture, got {spectrogram}")
    if not paths and microphone is None:
        raise ValueError("no sound given: name sound files or folders of them, or --microphone SECONDS")
    classifier = _opened(model, backend)
    window = classifier.seconds if window is None else window
    if window > classifier.seconds:
        raise ValueError(f"window is at most the model's {classifier.seconds:g} seconds, got {window:g}")
    found, left_out = [], {"skipped": [], "failed": [], "left_out": {}}
    if paths:  # else the microphone alone
        kinds = "sounds (WAV, FLAC, OGG, MP3, AIFF)"
        found, left_out = inputs.read(
            paths, waveforms.read_channels, files=sound_files.files, kinds=kinds, what="a sound", output=output
        )
    if microphone is not None:
        found.append((Path("microphone.wav"), _record(microphone, classifier.sample_rate)))
    if spectrogram is not None and len(found) != 1:
        raise ValueError(f"--spectrogram shows one sound, got {len(found)}")
    folder = runs.output_folder("spectrogram_cnn", "predict", output)
    if microphone is not None:
        with atomic(folder / "microphone.wav") as partial:
            soundfile.write(partial, *found[-1][1], format="WAV")
    predictions, taken = [], set()
    for path, (waveform, rate) in found:
        if (channel or classifier.channel) == "first":
            waveforms.tell_silence(waveform, path)
        heard = waveforms.one_channel(waveform, channel or classifier.channel)
        mono = waveforms.resample(heard, rate, classifier.sample_rate)
        pcm = waveforms.fit(mono, classifier.samples)
        (probabilities,) = classifier(pcm)
        best = int(probabilities.argmax())
        timeline, levels = classifier.timeline(mono, window, window / 2 if hop is None else hop)
        peaks = strongest_frequencies(heard, rate)
        picture = inputs.free_name(folder, path, ".png", taken)
        image = classifier.image(mono)
        row = {
            "file": str(path),
            "label": classifier.labels[best],
            "confidence": float(probabilities[best]),
            "seconds": len(waveform) / rate,
            "sample_rate": rate,
            "channels": waveform.shape[1],
        }
        pictures.sound(
            waveform,
            rate,
            picture,
            title=f"{path.name[-40:]}: {row['label']} {row['confidence']:.0%}",
            spectrum=spectrum(heard, rate),
            peaks=peaks,
            spectrogram=image,
            seen=classifier.image(pcm[0] / np.float32(32768)),
            frequencies=classifier.frequencies,
            heat=classifier.grad_cam(pcm, best),
            timeline=(timeline, levels, classifier.labels) if len(timeline) > 1 else None,
        )
        if spectrogram is not None:
            if bare:
                plots.save_image(pictures.coloured(image), spectrogram)
            else:
                pictures.spectrogram(image, len(mono) / classifier.sample_rate, classifier.frequencies, spectrogram)
        predictions.append(
            row
            | {
                "probabilities": dict(zip(classifier.labels, map(float, probabilities), strict=True)),
                "strongest_frequencies": peaks,
                "timeline": timeline,
                "picture": str(picture),
            }
        )
    shown = ("file", "label", "confidence", "seconds")
    rows = [{name: prediction[name] for name in shown} for prediction in predictions]
    results.write_predictions(folder, predictions, rows)
    long = [one for one in predictions if len(one["timeline"]) > 1]
    moments = [{"file": one["file"], **entry} for one in long for entry in one["timeline"]]
    print(results.table(rows))
    if moments:
        _write_csv(moments, folder / "timeline.csv")
        print(f"\n{results.table(moments[:40])}")
        if len(moments) > 40:
            print(f"... and {len(moments) - 40:,} more in timeline.csv")
    print(f"\ntables and pictures are in {folder}")
    return {"predictions": predictions, **left_out, "output": folder}


class _File(listening.Listening):
    """A phone file, an ONNX file or a SavedModel of a sound classifier."""

    def __init__(self, model):
        predictor = opened(model, TASK)
        self.on_waveforms, about = predictor.on_waveforms, predictor.metadata
        self.listen(about["spectrogram"], predictor.samples, about["sound"], predictor.class_names)

    def __call__(self, waveforms):
        return self.on_waveforms(waveforms)


def _opened(model, backend):
    if is_light(model, backend):
        return _File(model)
    with silent_start():
        from recipes.spectrogram_cnn import Classifier
    return Classifier(model)


def spectrum(waveform, rate):
    """The power of a whole sound over the frequency: (hertz, decibels of full scale).

    By NumPy alone, for SciPy's signal package takes longer to start than all else here: the mean over windows of at
    most four seconds that overlap by half (Welch, 1967).
    """
    length = min(len(waveform), 4 * rate)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, length)[:: max(1, length - length // 2)]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length) if length > 1 else np.ones(1)
    power = [np.abs(np.fft.rfft((frame - frame.mean()) * hann)) ** 2 for frame in frames]  # one by one: a long sound
    power = 4 * np.mean(power, axis=0) / hann.sum() ** 2
    power[[0] if length % 2 else [0, -1]] /= 2  # what has no mirror image among the negative frequencies
    return np.fft.rfftfreq(length, 1 / rate), 10 * np.log10(power + 1e-12)


def strongest_frequencies(waveform, rate, count=5):
    """The peaks of a spectrum within 30 decibels of the highest, 20 Hz apart, strongest first: [{"hertz",
    "decibels"}]."""
    frequencies, decibels = spectrum(waveform, rate)
    inner = decibels[1:-1]
    high = (inner > decibels[:-2]) & (inner >= decibels[2:]) & (inner >= max(decibels.max() - 30, -100))
    audible = [index for index in np.flatnonzero(high) + 1 if frequencies[index] >= 20]
    strongest = []
    for index in sorted(audible, key=lambda index: -decibels[index]):
        if len(strongest) < count and all(abs(frequencies[index] - frequencies[one]) >= 20 for one in strongest):
            strongest.append(index)
    return [{"hertz": float(frequencies[index]), "decibels": float(decibels[index])} for index in strongest]


def _record(seconds, rate):
    """(waveform (samples, 1), rate) from the microphone."""
    try:
        import sounddevice
    except ImportError as error:
        raise ValueError("--microphone needs sounddevice: pip install 'image-zoo[audio]'") from error
    except OSError as error:  # its native library
        raise ValueError(f"--microphone: {error}") from error
    try:
        print(f"recording {seconds:g} seconds", file=sys.stderr)
        waveform = sounddevice.rec(round(seconds * rate), samplerate=rate, channels=1, dtype="float32", blocking=True)
    except Exception as error:  # PortAudio's own
        raise ValueError(f"--microphone: nothing could be recorded here ({str(error).splitlines()[0]})") from error
    return waveform, rate


def _write_csv(rows, path):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    cards.write_text(path, text.getvalue())
