"""What every form of a sound classifier shares: how sounds are brought to it, and what is shown of them."""

from zoo import waveforms


class Listening:
    """int16 waveforms (count, samples) to probabilities (count, classes), which a form of a model adds as `__call__`.

    Attributes:
        settings: Arguments of the model's spectrogram.
        samples: Samples of a waveform.
        sound: How sounds are brought to the model: sample_rate, seconds, channel, long.
        labels: Names of the classes.
        sample_rate, seconds, channel: Of these, for short.
        frequencies: Hertz at the middle of each row of the spectrogram.
    """

    def listen(self, settings, samples, sound, labels):
        """Sets what the model takes and knows."""
        self.settings, self.samples, self.labels = settings, samples, list(map(str, labels))
        self.sample_rate = settings["sample_rate"]
        self.seconds = samples / self.sample_rate
        self.sound = {"channel": "first", "long": "loudest"} | sound
        self.sound |= {"sample_rate": self.sample_rate, "seconds": self.seconds}
        self.channel = self.sound["channel"]
        self.frequencies = waveforms.frequencies(self.sample_rate, settings["window"], settings["mel_bins"])

    def image(self, waveform):
        """The spectrogram of a waveform of any length as the model sees it, low frequencies below: (bins, frames)."""
        return waveforms.spectrogram(waveform, **self.settings).T[::-1]

    def timeline(self, waveform, window, hop):
        """What is heard in each window: (rows of start, end, label and confidence, probabilities (count, classes))."""
        times, pieces = waveforms.timeline(waveform, self.sample_rate, self.samples, window, hop)
        probabilities = self(pieces)
        rows = [
            {"start": start, "end": end, "label": self.labels[row.argmax()], "confidence": float(row.max())}
            for (start, end), row in zip(times, probabilities, strict=True)
        ]
        return rows, probabilities

    def grad_cam(self, waveforms, label):
        """Where on the spectrogram a class is seen (Grad-CAM; Selvaraju et al., 2017), a coarse image in [0, 1]; None
        for an exported model."""
        return None
