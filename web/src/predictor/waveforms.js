// Sounds on their way to a network, as zoo/waveforms.py: read, resampled, cut into windows.

import { round } from "./pixels.js";

/** The samples of a WAV file as {channels: [Float32Array], rate}, or null where it is no WAV of integers or floats. */
export function readWav(buffer) {
  const view = new DataView(buffer);
  const word = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 44 || word(0) !== "RIFF" || word(8) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (word(at) === "fmt ") {
      const kind = view.getUint16(at + 8, true);
      const extensible = kind === 0xfffe && size >= 26;
      format = {
        kind: extensible ? view.getUint16(at + 32, true) : kind,
        count: view.getUint16(at + 10, true),
        rate: view.getUint32(at + 12, true),
        bits: view.getUint16(at + 22, true),
      };
    }
    if (word(at) === "data" && format) return samples(view, at + 8, Math.min(size, buffer.byteLength - at - 8), format);
    at += 8 + size + (size % 2);
  }
  return null;
}

function samples(view, start, size, { kind, count, rate, bits }) {
  const read = {
    "1/8": (at) => (view.getUint8(at) - 128) / 128,
    "1/16": (at) => view.getInt16(at, true) / 32768,
    "1/24": (at) => ((view.getUint8(at) | (view.getInt16(at + 1, true) << 8)) / 8388608),
    "1/32": (at) => view.getInt32(at, true) / 2147483648,
    "3/32": (at) => view.getFloat32(at, true),
    "3/64": (at) => view.getFloat64(at, true),
  }[`${kind}/${bits}`];
  if (!read || count < 1) return null;
  const bytes = bits / 8;
  const length = Math.floor(size / (bytes * count));
  const channels = Array.from({ length: count }, (_, channel) =>
    Float32Array.from({ length }, (_, index) => read(start + (index * count + channel) * bytes)),
  );
  return { channels, rate };
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** The modified Bessel function of the first kind of order 0. */
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-17 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/** A waveform of one rate at another, by a polyphase filter with a Kaiser window: scipy.signal.resample_poly. */
export function resample(waveform, rate, wanted) {
  if (rate === wanted) return waveform;
  const common = gcd(rate, wanted);
  const [up, down] = [wanted / common, rate / common];
  const most = Math.max(up, down);
  const half = 10 * most;
  const filter = Float64Array.from({ length: 2 * half + 1 }, (_, at) => {
    const x = (at - half) / most;
    const sinc = at === half ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return (sinc / most) * (bessel(5 * Math.sqrt(1 - ((at - half) / half) ** 2)) / bessel(5));
  });
  const sum = filter.reduce((total, value) => total + value, 0);
  for (let at = 0; at < filter.length; at++) filter[at] *= up / sum;
  return Float32Array.from({ length: Math.ceil((waveform.length * up) / down) }, (_, place) => {
    const middle = place * down; // in steps of the finer rate
    const first = Math.max(0, Math.ceil((middle - half) / up));
    const last = Math.min(waveform.length - 1, Math.floor((middle + half) / up));
    let value = 0;
    for (let index = first; index <= last; index++) value += waveform[index] * filter[middle - index * up + half];
    return value;
  });
}

/** A waveform in [-1, 1] as 16-bit numbers. */
export function pcm(waveform) {
  return Int32Array.from(waveform, (value) => round(Math.min(32767, Math.max(-32768, value * 32768))));
}

/** The window of most energy, or all of a shorter sound in the middle of zeros. */
export function fit(waveform, length) {
  const whole = pcm(waveform);
  const surplus = whole.length - length;
  if (surplus <= 0) {
    const out = new Int32Array(length);
    out.set(whole, Math.floor(-surplus / 2));
    return out;
  }
  const energy = new Float64Array(whole.length + 1);
  whole.forEach((value, at) => (energy[at + 1] = energy[at] + value * value));
  let best = 0;
  for (let at = 1; at <= surplus; at++) {
    if (energy[at + length] - energy[at] > energy[best + length] - energy[best]) best = at;
  }
  return whole.slice(best, best + length);
}

/** The windows of a running sound: [{start, end, samples}], half a window apart, the last one flush with the end. */
export function timeline(waveform, rate, length, window, hop) {
  const size = round(window * rate);
  const step = Math.max(1, round(hop * rate));
  const surplus = waveform.length - size;
  const starts = [];
  for (let at = 0; at < surplus; at += step) starts.push(at);
  starts.push(Math.max(0, surplus));
  return starts.map((start) => ({
    start: start / rate,
    end: Math.min(start + size, waveform.length) / rate,
    samples: fit(waveform.subarray(start, start + size), length),
  }));
}
