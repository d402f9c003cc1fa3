// The figures of docs/web.md: `npm run measure` after `npm run build`. The machine must have nothing else to do.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { start, web } from "./browser.js";

const ROUNDS = 5;
const SHOWN = {
  mnist_cnn: { verb: "answer", photo: "../tests/images/three.png" },
  mnist_cnn_fashion_mnist: { verb: "answer", photo: "../tests/images/three.png" },
  denoising_autoencoder: { verb: "answer", photo: "../tests/images/three.png" },
  unet: { verb: "answer", photo: "examples/scene.png" },
  unet_scenes: { verb: "answer", photo: "examples/scene.png" },
  yolo_scenes: { verb: "answer", photo: "examples/objects.png" },
  spectrogram_cnn: { verb: "heard", wav: "examples/siren.wav" },
  spectrogram_cnn_sounds: { verb: "heard", wav: "examples/siren.wav" },
  dcgan: { verb: "generated", latent: Array(64).fill(0.5), label: 3 },
  diffusion: { verb: "diffused", settings: { label: 3, steps: 20, seed: 0 } },
};
const PHOTO = { verb: "answer", photo: "examples/chelsea.jpg" };

/** The first visit: bytes until the digit that stands ready is named, and the longest task of the page. */
async function firstVisit() {
  const { page, url, close } = await start({ media: false });
  const bodies = [];
  page.on("response", (response) => bodies.push(response.body().catch(() => Buffer.alloc(0))));
  await page.addInitScript(() => {
    window.long = [];
    new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  });
  const began = performance.now();
  await page.goto(url);
  await page.waitForFunction(() => / sure/.test(document.querySelector("#panel-digits .message")?.textContent));
  const seconds = (performance.now() - began) / 1000;
  const loaded = await Promise.all(bodies);
  // while the slowest model makes its picture
  await page.evaluate(() => (window.long = []));
  await page.locator("#tab-diffusion").click();
  await page.locator("#panel-diffusion").getByRole("button", { name: "Make a digit", exact: true }).click();
  await page.waitForFunction(() => /^Done/.test(document.querySelector("#panel-diffusion .message")?.textContent));
  const long = await page.evaluate(() => window.long);
  await close();
  const megabytes = (sizes) => sizes.reduce((sum, size) => sum + size, 0) / 1e6;
  return {
    seconds,
    megabytes: megabytes(loaded.map(({ length }) => length)),
    compressed: megabytes(loaded.map((body) => gzipSync(body).length)),
    long,
  };
}

/** Median milliseconds of the network alone, for each model. */
async function milliseconds(headers) {
  const { page, url, close } = await start({ media: false, headers });
  await page.goto(`${url}docs/web.html`);
  const found = {};
  for (const name of Object.keys(JSON.parse(await readFile(join(web, "dist/models.json"), "utf8")))) {
    const { photo, wav, ...given } = SHOWN[name] ?? PHOTO;
    const bytes = photo || wav ? (await readFile(join(web, photo ?? wav))).toString("base64") : null;
    found[name] = await page.evaluate(
      async ({ name, given, bytes, isPhoto, rounds }) => {
        const { ask, model } = await import("/src/page/shared.js");
        const raw = bytes && Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
        const times = [];
        for (let round = 0; round <= rounds; round++) {
          const asked = { ...given, model: model(name), ...(raw && (isPhoto ? { photo: new Blob([raw]) } : { wav: raw.buffer.slice(0) })) };
          times.push((await ask(given.verb, asked)).milliseconds);
        }
        return times.slice(1).sort((a, b) => a - b)[Math.floor(rounds / 2)];
      },
      { name, given, bytes, isPhoto: Boolean(photo), rounds: ROUNDS },
    );
  }
  await close();
  return found;
}

const visit = await firstVisit();
console.log(
  `first answer: ${visit.megabytes.toFixed(1)} MB (${visit.compressed.toFixed(1)} MB by gzip) in ${visit.seconds.toFixed(1)} s from this machine; ` +
    `tasks of more than 50 ms while a digit is made: ${visit.long.length}${visit.long.length ? ` (${visit.long.map(Math.round)} ms)` : ""}`,
);
// two rounds of both in turn, the smaller one counts: what else the machine does only adds
const rounds = [];
for (const headers of [undefined, null, undefined, null]) rounds.push(await milliseconds(headers));
const least = (name, ...which) => Math.min(...which.map((at) => rounds[at][name]));
const shown = (value) => (value < 10 ? value.toFixed(1) : String(Math.round(value)));
console.log("\n| model | 2 threads | 1 thread |\n|---|---|---|");
for (const name of Object.keys(rounds[0])) console.log(`| \`${name}\` | ${shown(least(name, 0, 2))} | ${shown(least(name, 1, 3))} |`);
