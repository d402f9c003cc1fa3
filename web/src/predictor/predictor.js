// From a photo or sound to an answer, with a published file: what zoo/predictor.py does, in the same words.

import { notes } from "./files.js";
import * as pixels from "./pixels.js";
import * as samplers from "./samplers.js";
import { byChannels, byTiles, classes } from "./tiles.js";
import * as waveforms from "./waveforms.js";

const TYPES = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
const UNLIKE = "this looks like a photo, not like what the model was trained on";

export class Predictor {
  /**
   * @param {Uint8Array} bytes Those of a .tflite file.
   * @param {object} runtime LiteRT's module, its WebAssembly loaded.
   * @param {object} card What the model's card says: knows, image_size, schedule.
   */
  static async open(bytes, runtime, card = {}) {
    const model = await runtime.loadAndCompile(bytes, { accelerator: "wasm" });
    return new Predictor(model, runtime, notes(bytes), card);
  }

  constructor(model, runtime, { labels, metadata }, card) {
    Object.assign(this, { model, runtime, labels, metadata, card });
    this.task = metadata.task;
    this.milliseconds = 0;
    this.signatures = model.signatures;
  }

  delete() {
    this.model.delete();
  }

  /** {width, height, channels} of the images that the network takes. */
  get shape() {
    const [, height, width, channels] = this.details("image").shape;
    return { height, width, channels };
  }

  /** New samples from one answer to the next of a model that listens, or nothing. */
  get block() {
    return this.signatures.stream && this.details("samples", "stream").shape[1];
  }

  details(name, signature) {
    const found = this.signature(signature).getInputDetails().find((one) => one.name === name);
    return found && { ...found, shape: Array.from(found.shape) };
  }

  signature(name) {
    const found = this.signatures[name ?? Object.keys(this.signatures)[0]];
    if (!found) throw new Error(`the model has no signature ${name}`);
    return found;
  }

  /** The outputs of a signature by name, typed arrays, for inputs by name (numbers or arrays). */
  async run(inputs, signature) {
    const runner = this.signature(signature);
    const tensors = {};
    for (const { name, dtype, shape } of runner.getInputDetails()) {
      const value = inputs[name];
      if (value === undefined) throw new Error(`the input ${name} is missing`);
      const values = typeof value === "number" ? [value] : value;
      const Type = TYPES[dtype];
      const data = values instanceof Type ? values : Type.from(values);
      tensors[name] = new this.runtime.Tensor(data, Array.from(shape));
    }
    const start = performance.now();
    const found = await runner.run(tensors);
    const outputs = {};
    for (const [name, tensor] of Object.entries(found)) {
      outputs[name] = tensor.toTypedArray().slice();
      tensor.delete();
    }
    this.milliseconds = performance.now() - start;
    for (const tensor of Object.values(tensors)) tensor.delete();
    return outputs;
  }

  /** The answer to a photo ({data, width, height, channels}); `tell` hears (done, of all) of a long work. */
  async answer(photo, options = {}, tell = () => {}) {
    const tasks = {
      "object detection": () => this.detections(photo, options),
      "image classification": () => this.label(photo),
      "semantic segmentation": () => this.mask(photo),
      "image denoising": () => this.restored(photo, tell),
      "image super-resolution": () => this.restored(photo, tell),
      "image regression": () => this.corrected(photo, options),
    };
    if (!tasks[this.task]) throw new Error(`this model takes no photo: it is for ${this.task}`);
    const start = performance.now();
    const answer = await tasks[this.task]();
    return { ...answer, milliseconds: this.milliseconds, whole_milliseconds: performance.now() - start };
  }

  warning(foreign) {
    return foreign && this.card.knows ? `${UNLIKE}: the model knows ${this.card.knows}` : "";
  }

  async label(photo) {
    const { shape } = this;
    const warning = this.warning(shape.channels === 1 && pixels.unlikeDrawings(photo));
    const { picture, inverted } = pixels.asTrained(pixels.fitOne(photo, shape), this.metadata.border);
    const { probabilities } = await this.run({ image: picture.data });
    return { ...this.named(probabilities), inverted, seen: picture, warning };
  }

  named(values) {
    const names = this.labels.length ? this.labels : Array.from(values, (_, index) => String(index));
    const best = values.reduce((found, value, index) => (value > values[found] ? index : found), 0);
    const probabilities = Object.fromEntries(names.map((name, index) => [`${name}`, values[index]]));
    return { label: names[best], confidence: values[best], probabilities, order: names };
  }

  async detections(photo, { confidence = 0.25 }) {
    const { shape } = this;
    const { picture, undo } = pixels.letterboxed(photo, shape);
    const { boxes, scores, classes: kinds, count } = await this.run({ image: picture.data });
    const sides = [shape.width, shape.height, shape.width, shape.height];
    const found = [];
    for (let at = 0; at < count[0]; at++) {
      if (scores[at] < confidence) continue;
      const box = undo(sides.map((side, index) => boxes[4 * at + index] * side));
      found.push({ class_name: this.labels[kinds[at]], class: kinds[at], confidence: scores[at], box });
    }
    found.sort((a, b) => b.confidence - a.confidence);
    return { detections: found };
  }

  async mask(photo) {
    const { shape } = this;
    const count = Math.max(2, this.metadata.num_classes);
    const see = async (piece) => (await this.run({ image: piece.data })).mask;
    const longest = Math.max(...(this.card.image_size ?? [0]));
    const colour = pixels.convert(photo, shape.channels);
    const mask = await classes(see, colour, shape, count, longest);
    const counts = new Array(count).fill(0);
    for (const label of mask) counts[label]++;
    const names = this.labels.length ? this.labels : counts.map((_, label) => String(label));
    const share = Object.fromEntries(names.map((name, label) => [name, counts[label] / mask.length]));
    return { mask, share, colours: this.metadata.colours ?? pixels.COLOURS.map(rgb) };
  }

  async restored(photo, tell) {
    const { shape } = this;
    const grey = pixels.isGrey(photo);
    const warning = this.warning(shape.channels === 1 && pixels.colourful(photo));
    const restore = async (tile) => (await this.run({ image: tile.data })).restored;
    const whole = (picture) => byTiles(restore, picture, shape, this.metadata.overlaps ?? 4, tell, this.metadata.factor ?? 1);
    const result = await byChannels(whole, pixels.convert(photo, grey ? 1 : 3), shape.channels);
    return { image: result, warning };
  }

  async corrected(photo, { strength = 1 }) {
    const { outputs, kind } = this.metadata.target;
    const colour = pixels.convert(photo, 3);
    const { cast } = await this.run({ image: pixels.fitOne(colour, this.shape, "stretch").data });
    const named = Object.fromEntries(outputs.map((name, index) => [name, cast[index]]));
    return { cast: named, image: pixels.corrected(colour, cast, kind, strength) };
  }

  // sounds -----------------------------------------------------------------------------------------------------------

  /** Label of a sound (channels and rate), and what is heard when. */
  async heard({ channels, rate }) {
    const about = this.metadata.sound;
    const mono = waveforms.resample(channels[0], rate, about.sample_rate);
    const [, length] = this.details("waveform", "serving_default").shape;
    const listen = async (samples) =>
      this.named((await this.run({ waveform: samples }, "serving_default")).probabilities);
    const whole = await listen(waveforms.fit(mono, length));
    const timeline = [];
    for (const window of waveforms.timeline(mono, about.sample_rate, length, about.seconds, about.seconds / 2)) {
      const { samples, ...times } = window;
      timeline.push({ ...times, ...(await listen(samples)) });
    }
    const sure = `${Math.round(100 * whole.confidence)}% sure that this is ${whole.label}`;
    const warning = whole.confidence < 0.5 ? `${sure}: the model knows ${this.card.knows ?? this.labels}` : "";
    const { milliseconds } = this;
    return { ...whole, seconds: mono.length / about.sample_rate, timeline, warning, milliseconds, waveform: mono };
  }

  /** Label of the last window of a running sound; `samples` are the newest, in [-1, 1], as many as the file takes. */
  async streamed(samples) {
    const [, window] = this.details("memory", "stream").shape;
    this.memory ??= new Int32Array(window);
    const inputs = { samples: waveforms.pcm(samples), memory: this.memory };
    const { probabilities, memory } = await this.run(inputs, "stream");
    this.memory = memory;
    return { ...this.named(probabilities), milliseconds: this.milliseconds };
  }

  // images from noise ------------------------------------------------------------------------------------------------

  /** A new image of a generator whose input is a latent vector. */
  async generated({ latent, label }) {
    const [{ shape }] = this.signature().getOutputDetails();
    const [, height, width, channels] = shape;
    const { image } = await this.run({ latent, label });
    return { image: pixels.image(width, height, channels, image), milliseconds: this.milliseconds };
  }

  /**
   * A new image of a diffusion model, step by step: `tell(done, steps, image)`. With `known`, an image of which the
   * pixels in `missing` are made up.
   */
  async diffused({ label, steps, seed = 0, noise, guidance, known, missing }, tell = () => {}) {
    const { timesteps } = this.metadata;
    const [, height, width, channels] = this.details("image", "denoise").shape;
    const draw = samplers.normal(seed);
    let x = noise ? Float32Array.from(noise) : Float32Array.from({ length: height * width * channels }, draw);
    const none = this.labels.length;
    const table = samplers.schedule({ timesteps, ...this.card.schedule });
    const path = samplers.levels(timesteps, steps);
    const rows = samplers.coefficients(
      path.map((level) => table.signal[level]),
      path.map((level) => table.noise[level]),
      known ? "ddpm" : "dpm_solver++",
    );
    const way = known
      ? samplers.resampled(rows, path, table, 2)
      : rows.map((row, at) => ({ row, level: path[at] }));
    let before = new Float32Array(x.length);
    let total = 0;
    for (const [step, { row, level }] of way.entries()) {
      const inputs = { image: x, level, label: label ?? none };
      inputs.guidance_scale = label === null || label === undefined ? 1 : (guidance ?? this.metadata.guidance_scale);
      const { clean } = await this.run(inputs, "denoise");
      total += this.milliseconds;
      if (known) for (let at = 0; at < clean.length; at++) if (!missing[at]) clean[at] = known.data[at] / 127.5 - 1;
      const next = new Float32Array(x.length);
      for (let at = 0; at < x.length; at++) {
        next[at] = row[0] * x[at] + row[1] * clean[at] + row[2] * before[at] + (row[3] ? row[3] * draw() : 0);
      }
      [x, before] = [next, clean];
      tell(step + 1, way.length, asImage(clean, width, height, channels));
    }
    return { image: asImage(x, width, height, channels), milliseconds: total };
  }
}

function asImage(values, width, height, channels) {
  const byte = (value) => pixels.round(Math.min(255, Math.max(0, (value + 1) * 127.5)));
  return pixels.image(width, height, channels, Uint8Array.from(values, byte));
}

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
