"""Eight kinds of sound made by formula, so that everything runs without a network: the data set "sounds".

Siren, thunder, single piano-like notes, chords of several keys, white noise, silence, bird-like chirps and speech-like
vowels; pitch, length, loudness, place and background are drawn anew for each, from one seed.
"""

import numpy as np
from scipy import signal

CLASSES = ("chirp", "chord", "noise", "piano", "silence", "siren", "thunder", "vowel")


def synthesise(count=120, *, sample_rate=8000, seconds=1.0, seed=0):
    """Makes `count` sounds of each class.

    Args:
        count: Sounds per class.
        sample_rate: Samples per second, 4,000 or more.
        seconds: Length of each.
        seed: The same seed gives the same sounds.

    Returns:
        (float32 (8 * count, samples) in [-1, 1], int32 labels), class after class in the order of `CLASSES`.
    """
    random = np.random.default_rng(seed)
    samples = round(seconds * sample_rate)
    sounds = [one(name, random, samples, sample_rate) for name in CLASSES for _ in range(count)]
    return np.stack(sounds), np.repeat(np.arange(len(CLASSES), dtype=np.int32), count)


def one(name, random, samples, sample_rate):
    """One sound of a class, float32 (samples,) in [-1, 1], with a faint background."""
    makers = {
        "chirp": _chirps,
        "chord": lambda *args: _keys(*args, count=random.integers(3, 6)),
        "noise": lambda random, time: random.standard_normal(len(time)),
        "piano": lambda *args: _keys(*args, count=1),
        "silence": lambda random, time: np.zeros(len(time)),
        "siren": _siren,
        "thunder": _thunder,
        "vowel": _vowels,
    }
    length = int(samples * random.uniform(0.6, 1.0))
    sound = makers[name](random, np.arange(length) / sample_rate)
    loudness = 10 ** (random.uniform(-25, -1) / 20)
    sound = sound * (loudness / max(np.abs(sound).max(), 1e-9))
    edge = max(1, sample_rate // 200)  # 5 ms: a hard edge would be a click of its own
    sound[:edge] *= np.linspace(0, 1, edge)
    sound[-edge:] *= np.linspace(1, 0, edge)
    background = random.standard_normal(samples) * 10 ** (random.uniform(-95, -65) / 20)
    start = random.integers(0, samples - length + 1)
    background[start : start + length] += sound
    return np.float32(background.clip(-1, 1))


def _phase(frequency, time):
    """Phase of a tone whose frequency in hertz changes over time."""
    return 2 * np.pi * np.cumsum(frequency) * (time[1] - time[0])


def _siren(random, time):
    """A tone that rises and falls between two pitches, or alternates between them, with its overtones."""
    low, ratio, rate = random.uniform(350, 700), random.uniform(1.3, 2.2), random.uniform(1.0, 5.0)
    swing = np.sin(2 * np.pi * (rate * time + random.random()))
    swing = np.tanh(random.choice([1.0, 20.0]) * swing)
    phase = _phase(low * ratio ** ((swing + 1) / 2), time)
    return sum(np.sin(k * phase) / k**1.5 for k in (1, 2, 3))


def _thunder(random, time):
    """Claps of noise without high frequencies, each dying away slowly."""
    rate = 1 / (time[1] - time[0])
    rumble = signal.sosfilt(
        signal.butter(2, random.uniform(80, 250), fs=rate, output="sos"), random.standard_normal(len(time))
    )
    envelope = np.zeros(len(time))
    for start in [0.0, *random.uniform(0, time[-1], random.integers(1, 5))]:
        since = np.maximum(time - start, 0)
        envelope += (time >= start) * random.uniform(0.4, 1) * np.exp(-since / random.uniform(0.1, 0.6))
    return rumble * envelope


def _keys(random, time, count):
    """Keys of a piano struck at once: inharmonic overtones that die away, the higher ones sooner."""
    sound = 0
    for key in random.choice(np.arange(-24, 25), count, replace=False):
        pitch, decay = 440 * 2 ** (key / 12), random.uniform(0.2, 0.8)
        for k in range(1, 11):
            overtone = pitch * k * np.sqrt(1 + 4e-4 * k**2)
            if overtone < 0.45 / (time[1] - time[0]):
                sound = sound + np.sin(2 * np.pi * (overtone * time + random.random())) * np.exp(
                    -time * (1 + 0.4 * k) / decay
                ) / k ** random.uniform(1.0, 1.6)
    return sound


def _chirps(random, time):
    """Short whistles, each sweeping up or down, with pauses between them."""
    sound, start = np.zeros(len(time)), random.uniform(0, 0.1)
    nyquist = 0.5 / (time[1] - time[0])
    while start < time[-1] - 0.05:
        length = random.uniform(0.05, 0.2)
        inside = (time >= start) & (time < start + length)
        since = (time[inside] - start) / length
        edges = random.uniform(0.4, 0.9, 2) * min(nyquist, 6000)
        sweep = edges[0] + (edges[1] - edges[0]) * since + 150 * np.sin(2 * np.pi * random.uniform(1, 4) * since)
        if inside.sum() > 1:
            sound[inside] = np.sin(_phase(sweep, time)) * np.sin(np.pi * since)
        start += length + random.uniform(0.03, 0.15)
    return sound


# first three resonances of five vowels in hertz (after Peterson and Barney, 1952)
VOWELS = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))


def _vowels(random, time):
    """One to three vowels: pulses of a voice with a wavering pitch, through the resonances of a throat."""
    rate = 1 / (time[1] - time[0])
    tract = random.uniform(0.9, 1.25)  # a shorter throat has higher resonances
    pitch = random.uniform(85, 260) * (1 + 0.08 * np.sin(2 * np.pi * (random.uniform(0.5, 3) * time + random.random())))
    pulses = np.diff(np.floor(_phase(pitch, time) / (2 * np.pi)), prepend=0)
    source = signal.lfilter([1], [1, -0.95], pulses + 0.02 * random.standard_normal(len(time)))
    count = random.integers(1, 4)
    sound = np.zeros(len(time))
    for index in range(count):
        part = slice(len(time) * index // count, len(time) * (index + 1) // count)
        vowel = source[part]
        for resonance in VOWELS[random.integers(len(VOWELS))]:
            centre = min(resonance * tract, 0.45 * rate)
            radius = np.exp(-np.pi * random.uniform(60, 120) / rate)
            cosine = np.cos(2 * np.pi * centre / rate)
            vowel = signal.lfilter([1 - radius], [1, -2 * radius * cosine, radius**2], vowel)
        sound[part] = vowel * np.hanning(len(vowel)) ** 0.3
    return sound - sound.mean()
