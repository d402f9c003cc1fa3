// A spectrogram for the eye: quick enough to be drawn between two frames.

const WINDOW = 256;
const BANDS = WINDOW / 2;
const turn = (index) => (2 * Math.PI * index) / WINDOW;
const COSINES = Float64Array.from({ length: WINDOW }, (_, index) => Math.cos(turn(index)));
const SINES = Float64Array.from({ length: WINDOW }, (_, index) => Math.sin(turn(index)));
const BITS = Math.log2(WINDOW);
/** Each index with its bits in reverse. */
const REVERSED = Uint16Array.from({ length: WINDOW }, (_, index) => {
  let reversed = 0;
  for (let bit = 0; bit < BITS; bit++) reversed |= ((index >> bit) & 1) << (BITS - 1 - bit);
  return reversed;
});

/** Powers of the 128 frequencies from 0 up to half the rate in 256 samples from `start` (Hann window; radix 2, Cooley and Tukey, 1965). */
export function powers(samples, start) {
  const [real, imaginary] = [new Float64Array(WINDOW), new Float64Array(WINDOW)];
  for (let at = 0; at < WINDOW; at++) real[REVERSED[at]] = samples[start + at] * (0.5 - 0.5 * COSINES[at]);
  for (let half = 1; half < WINDOW; half *= 2) {
    const step = WINDOW / (2 * half);
    for (let block = 0; block < WINDOW; block += 2 * half) {
      for (let at = 0; at < half; at++) {
        const [low, high, cosine, sine] = [block + at, block + at + half, COSINES[at * step], -SINES[at * step]];
        const turnedReal = real[high] * cosine - imaginary[high] * sine;
        const turnedImaginary = real[high] * sine + imaginary[high] * cosine;
        real[high] = real[low] - turnedReal;
        imaginary[high] = imaginary[low] - turnedImaginary;
        real[low] += turnedReal;
        imaginary[low] += turnedImaginary;
      }
    }
  }
  return Float64Array.from({ length: BANDS }, (_, band) => real[band] ** 2 + imaginary[band] ** 2);
}

/** The picture of samples (ImageData): time to the right, at most `width` columns; 128 bands, high above. Null below 256 samples. */
export function spectrogram(samples, width) {
  if (samples.length < WINDOW) return null;
  const last = samples.length - WINDOW;
  const columns = Math.min(width, 1 + Math.floor(last / (WINDOW / 2)));
  const image = new ImageData(columns, BANDS);
  for (let column = 0; column < columns; column++) {
    const found = powers(samples, columns > 1 ? Math.round((column * last) / (columns - 1)) : 0);
    found.forEach((power, band) => {
      const light = Math.max(0, Math.min(1, (Math.log10(1e-6 + power) + 4) / 6));
      const place = 4 * ((BANDS - 1 - band) * columns + column);
      image.data.set([255 * light ** 2, 230 * light, 90 + 80 * light, 255], place);
    });
  }
  return image;
}
