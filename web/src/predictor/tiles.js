// Photos of any size by a network of one size, as zoo/tiles.py: tiles blended without a seam, windows that vote.

import { convert, image, resize, resizePlane, round } from "./pixels.js";

/** Where index falls in a row of `size` that is mirrored at its ends, without ("reflect") or with the end twice. */
function mirrored(index, size, twice) {
  if (size === 1) return 0;
  const period = twice ? 2 * size : 2 * size - 2;
  const place = ((index % period) + period) % period;
  return place < size ? place : period - place - (twice ? 1 : 0);
}

function piece(picture, left, top, width, height, twice) {
  const { channels } = picture;
  const out = image(width, height, channels);
  const columns = Array.from({ length: width }, (_, x) => mirrored(left + x, picture.width, twice) * channels);
  for (let y = 0; y < height; y++) {
    const row = mirrored(top + y, picture.height, twice) * picture.width * channels;
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < channels; channel++) {
        out.data[(y * width + x) * channels + channel] = picture.data[row + columns[x] + channel];
      }
    }
  }
  return out;
}

function tiling(size, side, overlaps) {
  if (size <= side) {
    return { begins: [0], before: Math.floor((side - size) / 2), window: new Float32Array(side).fill(1) };
  }
  const margin = Math.floor(side / 7);
  const inner = side - 2 * margin;
  const blend = Math.max(1, Math.floor(side / 16)); // where two tiles meet, if no more than two see a pixel
  const step = overlaps === 1 ? inner - blend : Math.max(1, Math.floor(inner / overlaps));
  const window = new Float32Array(side);
  for (let at = 0; at < inner; at++) {
    const ramp = Math.min(1, (at + 0.5) / blend, (inner - at - 0.5) / blend);
    window[margin + at] = overlaps === 1 ? ramp : 0.5 - 0.5 * Math.cos((2 * Math.PI * (at + 0.5)) / inner);
  }
  const before = side - margin - step;
  const count = Math.ceil((before + size - margin) / step);
  return { begins: Array.from({ length: count }, (_, index) => step * index), before, window };
}

/** A restored image of any size; `restore` takes a tile and gives it `factor` times as large, `tell` hears how many are done. */
export async function byTiles(restore, picture, tile, overlaps = 4, tell = () => {}, factor = 1) {
  const { channels } = picture;
  const down = tiling(picture.height, tile.height, overlaps);
  const across = tiling(picture.width, tile.width, overlaps);
  const [wide, high] = [factor * picture.width, factor * picture.height];
  const total = new Float32Array(wide * high * channels);
  const weight = new Float32Array(wide * high);
  let done = 0;
  for (const y of down.begins) {
    for (const x of across.begins) {
      const [left, top] = [x - across.before, y - down.before];
      const restored = await restore(piece(picture, left, top, tile.width, tile.height, false));
      for (let row = factor * Math.max(0, -top); row < factor * Math.min(tile.height, picture.height - top); row++) {
        const rowShare = down.window[Math.floor(row / factor)];
        for (let column = factor * Math.max(0, -left); column < factor * Math.min(tile.width, picture.width - left); column++) {
          const share = Math.fround(across.window[Math.floor(column / factor)] * rowShare);
          const place = (factor * top + row) * wide + factor * left + column;
          weight[place] += share;
          for (let channel = 0; channel < channels; channel++) {
            const value = restored[(row * factor * tile.width + column) * channels + channel];
            total[place * channels + channel] += Math.fround(share * value);
          }
        }
      }
      tell(++done, down.begins.length * across.begins.length);
    }
  }
  const out = image(wide, high, channels);
  for (let at = 0; at < total.length; at++) {
    out.data[at] = round(Math.fround(total[at] / weight[Math.floor(at / channels)]));
  }
  return out;
}

/** Restores an image by a function of images with another number of channels, 1 or 3. */
export async function byChannels(restore, picture, channels) {
  if (picture.channels === channels) return restore(picture);
  if (picture.channels < channels) {
    const found = await restore(convert(picture, channels));
    const out = image(found.width, found.height, 1);
    for (let at = 0; at < out.data.length; at++) {
      out.data[at] = round((found.data[3 * at] + found.data[3 * at + 1] + found.data[3 * at + 2]) / 3);
    }
    return out;
  }
  let out = null;
  for (let channel = 0; channel < 3; channel++) {
    const one = image(picture.width, picture.height, 1);
    for (let at = 0; at < one.data.length; at++) one.data[at] = picture.data[3 * at + channel];
    const found = await restore(one);
    out ??= image(found.width, found.height, 3);
    for (let at = 0; at < found.data.length; at++) out.data[3 * at + channel] = found.data[at];
  }
  return out;
}

function starts(side, size, overlap) {
  if (side <= size) return [0];
  const count = 1 + Math.ceil((side - size) / Math.max(1, size * (1 - overlap)));
  return Array.from({ length: count }, (_, index) => round((index * (side - size)) / (count - 1)));
}

const taper = (at, size) => Math.min(at + 1, size - at) / size;

/** Votes of a network for every pixel: a plane Float32Array per class, of the picture's size. */
async function votes(see, picture, window, count) {
  const padded = { width: Math.max(picture.width, window.width), height: Math.max(picture.height, window.height) };
  const rows = starts(padded.height, window.height, 0.25);
  const columns = starts(padded.width, window.width, 0.25);
  const single = rows.length === 1 && columns.length === 1;
  const planes = Array.from({ length: count }, () => new Float32Array(picture.width * picture.height));
  const weight = new Float32Array(picture.width * picture.height);
  for (const top of rows) {
    for (const left of columns) {
      const mask = await see(piece(picture, left, top, window.width, window.height, true));
      for (let y = 0; y < Math.min(window.height, picture.height - top); y++) {
        for (let x = 0; x < Math.min(window.width, picture.width - left); x++) {
          const place = (top + y) * picture.width + left + x;
          const share = single ? 1 : Math.min(taper(y, window.height), taper(x, window.width)) + 1e-3;
          planes[mask[y * window.width + x]][place] += share;
          weight[place] += share;
        }
      }
    }
  }
  for (const plane of planes) for (let at = 0; at < plane.length; at++) plane[at] /= weight[at];
  return planes;
}

/** The class of each pixel of a photo that the network sees at most `longest` pixels long. */
export async function classes(see, photo, window, count, longest) {
  const longer = Math.max(photo.width, photo.height);
  const scale = longest && longest < longer ? longest / longer : 1;
  const size = { width: Math.max(1, round(scale * photo.width)), height: Math.max(1, round(scale * photo.height)) };
  const seen = scale === 1 ? photo : resize(photo, size.width, size.height, "bilinear");
  const mask = new Uint8Array(photo.width * photo.height);
  const best = new Float32Array(mask.length).fill(-Infinity);
  const planes = await votes(see, seen, window, count);
  planes.forEach((plane, label) => {
    const large = scale === 1 ? plane : resizePlane(plane, size, photo);
    for (let at = 0; at < mask.length; at++) {
      if (large[at] > best[at]) {
        best[at] = large[at];
        mask[at] = label;
      }
    }
  });
  return mask;
}
