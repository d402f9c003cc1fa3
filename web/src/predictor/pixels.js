// Images as plain arrays, and what a photo goes through on its way to a network: the same numbers as zoo/photos.py and
// zoo/letterbox.py, whose resizing is Pillow's.
//
// An image is {data, width, height, channels}: data a Uint8ClampedArray or Uint8Array of height * width * channels.

// ten colours that are told apart, as the command line draws boxes
export const COLOURS = "#1f77b4 #ff7f0e #2ca02c #d62728 #9467bd #8c564b #e377c2 #7f7f7f #bcbd22 #17becf".split(" ");
const GREY = 114; // what is outside an image, for a detector
const BITS = 22; // of a weight in Pillow's resizing of bytes

const FILTERS = {
  bilinear: { reach: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    reach: 2,
    weigh(x) {
      const a = -0.5;
      const far = Math.abs(x);
      if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
      return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
    },
  },
};

/** Half to even, as NumPy and Python round. */
export function round(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 === 0 ? down : down + 1;
}

export function image(width, height, channels, data = new Uint8Array(width * height * channels)) {
  return { data, width, height, channels };
}

/** An image of an RGBA one, on white where it is transparent. */
export function withoutAlpha({ data, width, height }) {
  const out = image(width, height, 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    const alpha = data[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const value = data[from + channel];
      out.data[to + channel] = alpha === 255 ? value : Math.round((value * alpha + 255 * (255 - alpha)) / 255);
    }
  }
  return out;
}

/** An RGBA image for a canvas. */
export function withAlpha({ data, width, height, channels }) {
  const out = new Uint8ClampedArray(width * height * 4);
  for (let from = 0, to = 0; to < out.length; from += channels, to += 4) {
    out[to] = data[from];
    out[to + 1] = data[from + (channels === 3 ? 1 : 0)];
    out[to + 2] = data[from + (channels === 3 ? 2 : 0)];
    out[to + 3] = 255;
  }
  return out;
}

/** Whether all pixels of a colour image are grey: a file of a grey photo. */
export function isGrey({ data, channels }) {
  if (channels === 1) return true;
  for (let at = 0; at < data.length; at += 3) if (data[at] !== data[at + 1] || data[at] !== data[at + 2]) return false;
  return true;
}

/** An image with 1 or 3 channels. */
export function convert(picture, channels) {
  if (picture.channels === channels) return picture;
  const { data, width, height } = picture;
  const out = image(width, height, channels);
  if (channels === 3) {
    for (let at = 0; at < data.length; at++) out.data.fill(data[at], 3 * at, 3 * at + 3);
  } else {
    for (let at = 0, from = 0; at < out.data.length; at++, from += 3) {
      out.data[at] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
    }
  }
  return out;
}

/** For each place of the result: where its sources begin, and their weights. */
function weights(size, wanted, { reach, weigh }) {
  const scale = size / wanted;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  return Array.from({ length: wanted }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const found = Array.from({ length: last - first }, (_, index) => weigh((index + first - centre + 0.5) * (1 / stretch)));
    const sum = found.reduce((total, weight) => total + weight, 0);
    return { first, found: sum ? found.map((weight) => weight * (1 / sum)) : found };
  });
}

/** Resized along one axis; `finish` brings a sum to what is stored. */
function along(data, outer, size, inner, table, store, finish) {
  const out = new store(outer * table.length * inner);
  for (let row = 0; row < outer; row++) {
    for (let place = 0; place < table.length; place++) {
      const { first, found } = table[place];
      const to = (row * table.length + place) * inner;
      for (let at = 0; at < inner; at++) {
        let sum = 0;
        let from = (row * size + first) * inner + at;
        for (let index = 0; index < found.length; index++, from += inner) sum += data[from] * found[index];
        out[to + at] = finish(sum);
      }
    }
  }
  return out;
}

/** An image at another size, to the bit as Pillow resizes it. */
export function resize(picture, width, height, filter = "bilinear") {
  const { channels } = picture;
  let { data } = picture;
  const whole = (table) =>
    table.map(({ first, found }) => ({
      first,
      found: found.map((weight) => Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5))),
    }));
  const finish = (sum) => Math.min(255, Math.max(0, Math.floor((sum + 2 ** (BITS - 1)) / 2 ** BITS)));
  if (width !== picture.width) {
    const table = whole(weights(picture.width, width, FILTERS[filter]));
    data = along(data, picture.height, picture.width, channels, table, Uint8Array, finish);
  }
  if (height !== picture.height) {
    const table = whole(weights(picture.height, height, FILTERS[filter]));
    data = along(data, 1, picture.height, width * channels, table, Uint8Array, finish);
  }
  return image(width, height, channels, data);
}

/** A plane of floats at another size, likewise. */
export function resizePlane(plane, from, to) {
  let data = plane;
  const same = (sum) => sum;
  if (to.width !== from.width) {
    const table = weights(from.width, to.width, FILTERS.bilinear);
    data = along(data, from.height, from.width, 1, table, Float32Array, same);
  }
  if (to.height !== from.height) {
    const table = weights(from.height, to.height, FILTERS.bilinear);
    data = along(data, 1, from.height, to.width, table, Float32Array, same);
  }
  return data;
}

/** One image inside another, whose other pixels have a colour (a value per channel). */
function pasted(picture, width, height, left, top, colour) {
  const out = image(width, height, picture.channels);
  for (let at = 0; at < out.data.length; at++) out.data[at] = colour[at % picture.channels];
  for (let row = 0; row < picture.height; row++) {
    const from = row * picture.width * picture.channels;
    const line = picture.data.subarray(from, from + picture.width * picture.channels);
    out.data.set(line, ((top + row) * width + left) * picture.channels);
  }
  return out;
}

function median(values) {
  const sorted = Array.from(values).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The outermost pixels of an image, row by row and column by column, of one channel. */
function edges({ data, width, height, channels }, channel) {
  const at = (x, y) => data[(y * width + x) * channels + channel];
  const across = Array.from({ length: width }, (_, x) => x);
  const down = Array.from({ length: height }, (_, y) => y);
  return [
    across.map((x) => at(x, 0)),
    across.map((x) => at(x, height - 1)),
    down.map((y) => at(0, y)),
    down.map((y) => at(width - 1, y)),
  ];
}

const mean = (values) => values.reduce((total, value) => total + value, 0) / values.length;

/** Mean brightness, 0 to 255, of the outermost pixels of a grey or colour image. */
export function border(picture) {
  const sides = Array.from({ length: picture.channels }, (_, channel) => edges(picture, channel).map(mean));
  return mean([0, 1, 2, 3].map((side) => mean(sides.map((means) => means[side]))));
}

/** A photo as a network of one size takes it: padded with the colour of its edge ("pad"), or "stretch"ed. */
export function fitOne(photo, { width, height, channels }, fit = "pad") {
  let picture = convert(photo, channels);
  if (fit === "stretch") picture = resize(picture, width, height, "bilinear");
  if (picture.width * height !== picture.height * width) {
    const small = resize(picture, 16, 16, "bicubic");
    const colour = Array.from({ length: channels }, (_, one) => Math.trunc(median(edges(small, one).flat())));
    const side = Math.max(picture.width / width, picture.height / height);
    const wanted = { width: Math.max(1, round(side * width)), height: Math.max(1, round(side * height)) };
    picture = padded(picture, wanted, colour);
  }
  if (picture.width !== width || picture.height !== height) picture = resize(picture, width, height, "bicubic");
  return picture;
}

/** Pillow's ImageOps.pad: in its proportions, in the middle of a colour. */
function padded(picture, wanted, colour) {
  const proportion = picture.width / picture.height;
  const other = wanted.width / wanted.height;
  let { width, height } = wanted;
  if (proportion > other) height = round((picture.height / picture.width) * width);
  if (proportion < other) width = round((picture.width / picture.height) * height);
  const inside = resize(picture, width, height, "bicubic");
  const left = round((wanted.width - width) * 0.5);
  const top = round((wanted.height - height) * 0.5);
  return pasted(inside, wanted.width, wanted.height, left, top, colour);
}

/** The negative where the image's border is on the other side of grey than that of the training images. */
export function asTrained(picture, trainedBorder) {
  const known = trainedBorder !== null && trainedBorder !== undefined;
  if (!known || border(picture) > 127 === trainedBorder > 127) return { picture, inverted: false };
  const negative = { ...picture, data: Float64Array.from(picture.data, (value) => 255 - value) };
  const low = border(negative);
  const high = negative.data.reduce((most, value) => Math.max(most, value), 0);
  const out = image(picture.width, picture.height, picture.channels);
  for (let at = 0; at < out.data.length; at++) {
    const value = (255 * (negative.data[at] - low)) / Math.max(high - low, 1);
    out.data[at] = Math.trunc(Math.min(255, Math.max(0, value)));
  }
  return { picture: out, inverted: true };
}

/** Whether a photo has more colour than paper and ink under some light. */
export function colourful(photo) {
  const { data } = resize(convert(photo, 3), 128, 128, "bicubic");
  let total = 0;
  for (let at = 0; at < data.length; at += 3) {
    const [red, green, blue] = [data[at], data[at + 1], data[at + 2]];
    total += Math.max(red, green, blue) - Math.min(red, green, blue);
  }
  return total / (128 * 128) > 20;
}

/** Whether a photo looks unlike what classifiers of small grey pictures know. */
export function unlikeDrawings(photo) {
  const edge = edges(resize(convert(photo, 1), 128, 128, "bicubic"), 0).flat();
  const middle = median(edge);
  return colourful(photo) || mean(edge.map((value) => (Math.abs(value - middle) < 48 ? 1 : 0))) < 0.75;
}

/** A photo in the middle of grey, and a function that brings [left, top, right, bottom] back to its pixels. */
export function letterboxed(photo, { width, height }) {
  const factor = Math.min(height / photo.height, width / photo.width);
  const inner = {
    width: Math.max(1, Math.min(width, round(photo.width * factor))),
    height: Math.max(1, Math.min(height, round(photo.height * factor))),
  };
  const small = resize(convert(photo, 3), inner.width, inner.height, "bilinear");
  const left = Math.floor((width - inner.width) / 2);
  const top = Math.floor((height - inner.height) / 2);
  const undo = (box) =>
    box.map((side, index) => {
      const [corner, own, original] =
        index % 2 ? [top, inner.height, photo.height] : [left, inner.width, photo.width];
      return Math.min(original, Math.max(0, ((side - corner) * original) / own));
    });
  return { picture: pasted(small, width, height, left, top, [GREY, GREY, GREY]), undo };
}

/** A photo without its cast: the inverse of what shifted or multiplied its channels. */
export function corrected(photo, cast, kind, strength = 1) {
  const out = image(photo.width, photo.height, 3);
  for (let at = 0; at < out.data.length; at++) {
    const found = Math.fround(kind === "gains" ? cast[at % 3] ** strength : cast[at % 3] * strength);
    const value = kind === "gains" ? photo.data[at] / found : photo.data[at] - found;
    out.data[at] = round(Math.min(255, Math.max(0, Math.fround(value))));
  }
  return out;
}
