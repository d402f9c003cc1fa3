// Does all the work, so that the page never waits: decodes photos, runs the models, changes pixels.
// A classic worker, because LiteRT's loader calls importScripts.

const LARGEST = 40e6; // pixels of a photo

const modules = Promise.all(["./predictor.js", "./pixels.js", "./waveforms.js", "../../litert/index.js"].map((path) => import(path)));
const open = new Map();
let started;
let threads = false;

/** LiteRT with its WebAssembly, on several threads where the page may have them. */
async function runtime() {
  const [, , , litert] = await modules;
  started ??= (async () => {
    const folder = new URL("../../litert/wasm/", self.location.href).href;
    threads = self.crossOriginIsolated && (await litert.supportsFeature("relaxedSimd"));
    // its loader would look beside this file, and start this file as its threads
    const name = `litert_wasm${threads ? "_threaded" : ""}_internal.js`;
    // what it tells of itself goes to standard error: that is no error of the page
    const printErr = (line) => (/^(INFO|WARNING)/.test(line) ? console.debug(line) : console.error(line));
    self.Module = { locateFile: (file) => folder + file, mainScriptUrlOrBlob: folder + name, printErr };
    await litert.loadLiteRt(folder, { threads });
  })().catch((error) => {
    started = undefined;
    throw new Error(`WebAssembly could not start here, and the models need it (${firstLine(error)}).`);
  });
  await started;
  return litert;
}

const firstLine = (error) => String(error?.message ?? error).split("\n")[0];

/** The bytes of a file, telling how far it is. */
async function download(url, tell) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new Error(`The model could not be loaded (${response ? response.status : "no connection"}).`);
  const all = Number(response.headers.get("content-length")) || 0;
  const parts = [];
  let read = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    read += value.length;
    tell(read, all);
  }
  const bytes = new Uint8Array(read);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

async function predictor(name, { file, card }, tell) {
  if (!open.has(name)) {
    const opening = (async () => {
      const [{ Predictor }] = await modules;
      const [bytes, litert] = await Promise.all([download(new URL(`../../${file}`, self.location.href), tell), runtime()]);
      try {
        return await Predictor.open(bytes, litert, card);
      } catch (error) {
        throw new Error(`The model ${name} could not be opened (${firstLine(error)}).`);
      }
    })();
    opening.catch(() => open.delete(name));
    open.set(name, opening);
  }
  return open.get(name);
}

/** A photo (Blob or ImageBitmap) as pixels; at most `longest` pixels long where that is given. */
async function decoded(source) {
  const [, pixels] = await modules;
  let bitmap = source;
  if (source instanceof Blob) {
    bitmap = await createImageBitmap(source, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" })
      .catch(() => null);
    if (!bitmap) throw new Error("This is not a photo that the browser can read: PNG, JPEG, WebP, GIF or BMP.");
  }
  const { width, height } = bitmap;
  if (width * height > LARGEST) {
    bitmap.close();
    const size = Math.round((width * height) / 1e6);
    throw new Error(`This photo has ${size} megapixels: up to ${LARGEST / 1e6} are taken. Make it smaller first.`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return pixels.withoutAlpha(context.getImageData(0, 0, width, height));
}

/** An image for the page to draw. */
async function drawable(picture) {
  const [, pixels] = await modules;
  return new ImageData(pixels.withAlpha(picture), picture.width, picture.height);
}

const verbs = {
  async open({ model }, tell) {
    const found = await predictor(model.name, model, tell);
    const { labels, metadata, task, block } = found;
    return { labels, metadata, task, block, threads };
  },

  async decode({ photo }) {
    return { image: await drawable(await decoded(photo)) };
  },

  async answer({ model, photo, options }, tell) {
    const found = await predictor(model.name, model, () => {});
    const picture = photo.data ? photo : await decoded(photo);
    const answer = await found.answer(picture, options, tell);
    const size = { width: picture.width, height: picture.height };
    if (answer.image) answer.image = await drawable(answer.image);
    if (answer.seen) answer.seen = await drawable(answer.seen);
    return { ...answer, ...size };
  },

  async noisy({ photo, sigma, seed, grey }) {
    // noise of a camera on a photo, to have something to take out
    const [, pixels] = await modules;
    const { normal } = await import("./samplers.js");
    const picture = pixels.convert(await decoded(photo), grey ? 1 : 3);
    const draw = normal(seed);
    const data = Uint8Array.from(picture.data, (value) => pixels.round(Math.min(255, Math.max(0, value + sigma * draw()))));
    const noisy = { ...picture, data };
    return { image: await drawable(noisy), photo: noisy };
  },

  async heard({ model, sound, wav }) {
    const [, , waveforms] = await modules;
    const found = await predictor(model.name, model, () => {});
    const read = wav ? waveforms.readWav(wav) : sound;
    if (!read) return { undecoded: true };
    const trouble = unheard(read);
    if (trouble) throw new Error(trouble);
    return found.heard(read);
  },

  async streamed({ model, samples }) {
    return (await predictor(model.name, model, () => {})).streamed(samples);
  },

  async generated({ model, latent, label }) {
    const found = await predictor(model.name, model, () => {});
    const answer = await found.generated({ latent, label });
    return { ...answer, image: await drawable(answer.image) };
  },

  async diffused({ model, settings }, tell) {
    const found = await predictor(model.name, model, () => {});
    const waiting = [];
    const answer = await found.diffused(settings, (done, all, image) => {
      waiting.push(drawable(image).then((shown) => tell(done, all, shown)));
    });
    await Promise.all(waiting);
    return { ...answer, image: await drawable(answer.image), pixels: answer.image };
  },

  // The figures of a model as they are, for tests: inputs and outputs by name.
  async run({ model, inputs, signature }) {
    return (await predictor(model.name, model, () => {})).run(inputs, signature);
  },
};

/** What is wrong with a sound, or nothing. */
function unheard({ channels, rate }) {
  if (channels.length > 2) return `This sound has ${channels.length} channels: one or two are taken.`;
  if (!channels[0].length) return "This sound has no samples: its length is zero.";
  if (rate < 4000 || rate > 192000) return `This sound has ${rate} samples per second: 4,000 to 192,000 are taken.`;
  if (channels[0].length / rate > 600) return "This sound is longer than ten minutes: take a part of it.";
  if (channels[0].some((value) => !Number.isFinite(value))) return "This sound has samples that are no numbers.";
  return "";
}

let last = Promise.resolve(); // one thing after the other: the runtime has one memory

self.addEventListener("message", ({ data: { id, verb, ...given } }) => {
  const tell = (done, all, shown) => self.postMessage({ id, progress: [done, all, shown] });
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: await verbs[verb](given, tell) });
    } catch (error) {
      self.postMessage({ id, error: error?.message ?? String(error) });
    }
  });
});
