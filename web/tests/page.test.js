// Every tab used as a person would: by mouse, by keyboard, with good files and bad ones, offline and on a small screen.
// Screenshots go to the folder that SHOTS names.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { powers } from "../src/page/spectrogram.js";
import { start, web } from "./browser.js";

const AXE = createRequire(import.meta.url).resolve("axe-core");
const TABS = ["digits", "detection", "segmentation", "denoising", "colour", "flowers", "dcgan", "diffusion", "sound"];
const example = (name) => join(web, "dist/examples", name);

let site;
const panel = (name) => site.page.locator(`#panel-${name}`);
const said = (name) => panel(name).locator(".message").first();

/** Waits until the message of a tab says something like this. */
async function says(name, pattern, seconds = 60) {
  const end = Date.now() + 1000 * seconds;
  for (;;) {
    const text = (await said(name).textContent().catch(() => "")) ?? "";
    if (pattern.test(text)) return text;
    assert.ok(Date.now() < end, `${name} says "${text}", not ${pattern}`);
    await site.page.waitForTimeout(50);
  }
}
/** Forgets what a tab said, so that what it says next is new. */
const forget = (name) => said(name).evaluate((message) => (message.textContent = ""));
const open = (name) => site.page.locator(`#tab-${name}`).click();
const press = (name, text) => panel(name).getByRole("button", { name: text, exact: true }).click();
const give = (name, text, files) => panel(name).getByLabel(text, { exact: true }).setInputFiles(files);
const buffer = (name, mimeType, text) => ({ name, mimeType, buffer: Buffer.from(text) });

/** How a canvas looks: the mean and the spread of its pixels. */
const look = (locator) =>
  locator.evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const grey = Array.from({ length: data.length / 4 }, (_, at) => data[4 * at] + data[4 * at + 1] + data[4 * at + 2]);
    const mean = grey.reduce((a, b) => a + b, 0) / grey.length;
    return { mean, spread: Math.sqrt(grey.reduce((sum, one) => sum + (one - mean) ** 2, 0) / grey.length) };
  });

const top = (locator) =>
  locator.evaluate((canvas) => Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height / 2).data));

/** Milliseconds of processor time, not of waiting for it, of the page's tasks above 50 ms while something is done. */
async function longTasks(work) {
  const categories = ["toplevel", "disabled-by-default-devtools.timeline"];
  await site.browser.startTracing(site.page, { categories });
  await work();
  const { traceEvents } = JSON.parse(await site.browser.stopTracing());
  const named = ({ name, args }) => name === "thread_name" && args.name === "CrRendererMain";
  const pages = new Set(traceEvents.filter(named).map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = traceEvents.filter(({ pid, tid, tdur, name }) => pages.has(`${pid} ${tid}`) && tdur !== undefined && /RunTask$/.test(name));
  assert.notEqual(tasks.length, 0);
  return tasks.map(({ tdur }) => tdur / 1000).filter((milliseconds) => milliseconds > 50);
}

async function shot(name) {
  if (!process.env.SHOTS) return;
  await mkdir(process.env.SHOTS, { recursive: true });
  await site.page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true });
}

test("a spectrogram is the Fourier transform of windows, up to half the rate", () => {
  const samples = Float32Array.from({ length: 300 }, (_, at) => Math.sin(1.9 * at) + 0.3 * Math.cos(0.2 * at * at));
  const found = powers(samples, 44);
  for (let band = 0; band < 128; band++) {
    let [real, imaginary] = [0, 0];
    for (let at = 0; at < 256; at++) {
      const value = samples[44 + at] * Math.sin((Math.PI * at) / 256) ** 2;
      real += value * Math.cos((2 * Math.PI * band * at) / 256);
      imaginary += value * Math.sin((2 * Math.PI * band * at) / 256);
    }
    assert.ok(Math.abs(found[band] - real ** 2 - imaginary ** 2) < 1e-6, `band ${band}`);
  }
  assert.equal(found.length, 128);
});

describe("the page", { concurrency: false }, () => {
  before(async () => {
    site = await start();
    await site.page.goto(site.url);
  });
  after(() => site.close());

  test("a drawn digit is named while it is drawn", async () => {
    await says("digits", /^3, \d+ % sure/);
    await press("digits", "Clear");
    const box = await panel("digits").locator("canvas.board").boundingBox();
    await site.page.mouse.move(box.x + 140, box.y + 40);
    await site.page.mouse.down();
    await site.page.mouse.move(box.x + 140, box.y + 240, { steps: 8 });
    await site.page.mouse.up();
    await says("digits", /^1, \d+ % sure/);
    assert.equal(await panel("digits").locator("meter").count(), 10);
    await give("digits", "Open a picture", example("seven.png"));
    await says("digits", /^7, \d+ % sure .*negative/);
    await give("digits", "Open a picture", example("chelsea.jpg"));
    await says("digits", /looks like a photo, .*the model knows single digits/);
    await panel("digits").locator("select").first().selectOption("mnist_cnn_fashion_mnist");
    await says("digits", /^(?!.*looks like).*sure|Shirt|knows/);
    await panel("digits").locator("select").first().selectOption("mnist_cnn");
    await press("digits", "Show a drawn three");
    await says("digits", /^3, /);
    await shot("digits");
  });

  test("objects are found in a photo and before the camera, and classes can be left out", async () => {
    await open("detection");
    await says("detection", /^[1-9]\d* found/);
    assert.match(await panel("detection").locator("tbody tr").first().textContent(), /^cat0\.\d\d/);
    await shot("detection");
    await panel("detection").getByLabel("cat", { exact: true }).uncheck();
    await says("detection", /^Nothing found/);
    await panel("detection").getByLabel("cat", { exact: true }).check();
    await press("detection", "Camera");
    await says("detection", /frames a second/);
    await shot("camera");
    assert.match(await panel("detection").locator("tbody").textContent(), /cat/);
    await press("detection", "Stop");
    await panel("detection").locator("select").first().selectOption("yolo_scenes");
    await says("detection", /^\d+ found/);
  });

  test("every pixel of a scene has a colour", async () => {
    await open("segmentation");
    await says("segmentation", /^128 x 96 pixels/);
    assert.match(await panel("segmentation").locator(".legend").textContent(), /road \d+\.\d %/);
    await panel("segmentation").locator("select").first().selectOption("unet");
    await says("segmentation", /^Open a photo of a street/);
    await give("segmentation", "Open a photo", example("scene.png"));
    await says("segmentation", /^128 x 96 pixels/);
    await shot("segmentation");
  });

  test("noise is taken out", async () => {
    await open("denoising");
    await says("denoising", /pixels in/, 120);
    const [noisy, restored] = await Promise.all([1, 2].map((at) => look(panel("denoising").locator("canvas").nth(at))));
    assert.ok(restored.spread < noisy.spread && Math.abs(restored.mean - noisy.mean) < 6, JSON.stringify([noisy, restored]));
    await shot("denoising");
    const clear = panel("denoising").getByRole("button", { name: "Clear", exact: true });
    assert.equal(await clear.isVisible(), false);
    await panel("denoising").locator("select").first().selectOption("denoising_autoencoder");
    await says("denoising", /^\d+ x \d+ pixels in/);
    await forget("denoising");
    const box = await panel("denoising").locator("canvas.board").boundingBox();
    await site.page.mouse.move(box.x + 140, box.y + 40);
    await site.page.mouse.down();
    await site.page.mouse.move(box.x + 140, box.y + 240, { steps: 8 });
    await site.page.mouse.up();
    await says("denoising", /^28 x 28 pixels in/);
    assert.equal(await clear.isVisible(), true);
    // the stroke is there again: light in the middle, dark at the sides
    const column = (at) => panel("denoising").locator("canvas").last().evaluate((one, x) => one.getContext("2d").getImageData(x, 14, 1, 1).data[0], at);
    await site.page.waitForTimeout(300);
    assert.ok((await column(14)) > 150 && (await column(4)) < 60, `${await column(14)}, ${await column(4)}`);
    await shot("drawn");
    await give("denoising", "Open a photo", example("cast.jpg"));
    await says("denoising", /pixels in|looks like a photo/, 120);
  });

  test("a colour cast is taken out", async () => {
    await open("colour");
    const text = await says("colour", /^The cast: red \+\d+, green -?\+?\d+, blue -\d+/);
    assert.ok(Number(text.match(/red \+(\d+)/)[1]) > 20, text);
    await shot("colour");
    const saved = site.page.waitForEvent("download");
    await press("colour", "Save the result");
    assert.equal((await saved).suggestedFilename(), "corrected.png");
  });

  test("a flower is named", async () => {
    await open("flowers");
    await says("flowers", /% sure$/);
    assert.equal(await panel("flowers").locator("meter").count(), 5);
    await shot("flowers");
  });

  test("new digits follow the sliders", async () => {
    await open("dcgan");
    await says("dcgan", /^A 3 that nobody wrote/);
    const canvas = panel("dcgan").locator("canvas").first();
    const first = await canvas.evaluate((one) => one.toDataURL());
    await panel("dcgan").getByLabel("number 1").fill("3");
    await panel("dcgan").getByLabel("number 2").fill("-3");
    await site.page.waitForFunction(([old]) => document.querySelector("#panel-dcgan canvas").toDataURL() !== old, [first]);
    await press("dcgan", "From this one to another");
    await says("dcgan", /^From this one to another/);
    assert.equal(await panel("dcgan").locator(".strip canvas").count(), 8);
    await shot("dcgan");
  });

  test("a digit comes out of noise, the same for the same seed, and is completed where it is marked", async () => {
    await open("diffusion");
    await says("diffusion", /^Done/);
    const canvas = panel("diffusion").locator("canvas").first();
    const first = await canvas.evaluate((one) => one.toDataURL());
    await forget("diffusion");
    await press("diffusion", "Make a digit");
    await says("diffusion", /^Done/);
    assert.equal(await canvas.evaluate((one) => one.toDataURL()), first);
    const above = await top(canvas);
    await press("diffusion", "Make up what is marked");
    await says("diffusion", /^Draw over the digit/);
    const box = await panel("diffusion").locator("canvas.board").boundingBox();
    await site.page.mouse.move(box.x + 60, box.y + 200);
    await site.page.mouse.down();
    await site.page.mouse.move(box.x + 220, box.y + 210, { steps: 10 });
    await site.page.mouse.up();
    await forget("diffusion");
    await press("diffusion", "Make up what is marked");
    await says("diffusion", /^Done/);
    // above the marks it is what it was
    const now = await top(canvas);
    const most = Math.max(...now.map((value, at) => Math.abs(value - above[at])));
    assert.ok(most <= 2, `differs by ${most}`);
    await shot("diffusion");
  });

  test("a sound is named, from a file and from the microphone", async () => {
    await open("sound");
    await says("sound", /^siren, \d+ % sure/);
    await press("sound", "Hear a piano");
    await says("sound", /^piano/);
    await shot("sound");
    await press("sound", "Microphone");
    await says("sound", /^Listening: \w+, \d+ % sure/);
    await press("sound", "Stop");
    await says("sound", /^Stopped/);
  });

  test("a film is played with its boxes", { skip: !process.env.FILM && "FILM names none" }, async () => {
    await open("detection");
    await panel("detection").locator("select").first().selectOption("yolo_everyday");
    await says("detection", /^[1-9]\d* found/);
    await panel("detection").locator("tbody").evaluate((table) => table.replaceChildren());
    await forget("detection");
    // a video that is ready may still have no frame to give
    await site.page.evaluate(() => {
      const real = window.createImageBitmap;
      let refused = 2;
      window.createImageBitmap = (source, ...more) =>
        source instanceof HTMLVideoElement && refused-- > 0 ? Promise.reject(new DOMException("not usable")) : real(source, ...more);
    });
    await give("detection", "Open a film", process.env.FILM);
    await says("detection", /frames a second|The film has ended: [1-9]/);
    await shot("film");
    assert.match(await panel("detection").locator("tbody").textContent(), /cat0\.\d\d/);
    await says("detection", /^The film has ended: [1-9]\d* frames were looked at/);
  });

  test("bad files get one plain sentence, and the page goes on", async () => {
    await open("detection");
    await panel("detection").locator("select").first().selectOption("yolo_everyday");
    await says("detection", /^[1-9]\d* found/);
    await give("detection", "Open a photo", buffer("photo.jpg", "image/jpeg", "no photo at all"));
    await says("detection", /^This is not a photo that the browser can read/);
    await give("detection", "Open a film", buffer("film.mp4", "video/mp4", "no film at all"));
    await says("detection", /^This is not a film that the browser can play/);
    await give("detection", "Open a photo", example("chelsea.jpg"));
    await says("detection", /^[1-9]\d* found/);
    await open("sound");
    await give("sound", "Open a sound", buffer("sound.wav", "audio/wav", "no sound at all"));
    await says("sound", /^This is not a sound that the browser can read/);
    const large = await site.page.evaluate(async () => {
      const canvas = new OffscreenCanvas(8000, 6250);
      canvas.getContext("2d").fillRect(0, 0, 10, 10);
      const blob = await canvas.convertToBlob({ type: "image/jpeg" });
      const { ask, model } = await import("/src/page/shared.js");
      return ask("answer", { model: model("mnist_cnn"), photo: blob }).catch((error) => error.message);
    });
    assert.match(large, /^This photo has 50 megapixels: up to 40 are taken/);
    const lost = await site.page.evaluate(async () => {
      const { ask } = await import("/src/page/shared.js");
      return ask("open", { model: { name: "none", file: "models/none.tflite", card: {} } }).catch((error) => error.message);
    });
    assert.match(lost, /^The model could not be loaded \(404\)/);
    site.troubles.splice(0, site.troubles.length, ...site.troubles.filter((text) => !/404|ERR_|DEMUXER/.test(text)));
    await open("digits");
    await press("digits", "Show a drawn seven");
    await says("digits", /^7, /);
  });

  test("it works by keyboard, and says what it is to a screen reader", async () => {
    await site.page.locator("#tab-digits").focus();
    await site.page.keyboard.press("ArrowRight");
    assert.equal(await site.page.evaluate(() => document.activeElement.id), "tab-detection");
    assert.equal(await panel("detection").isVisible(), true);
    await site.page.keyboard.press("End");
    assert.equal(await panel("sound").isVisible(), true);
    const found = [];
    for (const scheme of ["light", "dark"]) {
      await site.page.emulateMedia({ colorScheme: scheme });
      for (const name of TABS) {
        await open(name);
        found.push(...(await violations(name)));
      }
    }
    assert.deepEqual(found, []);
    await site.page.emulateMedia({ colorScheme: "light" });
  });

  test("a model at work never holds up the page", async () => {
    const given = (name, file) => () => give(name, "Open a photo", example(file));
    const work = {
      digits: [() => press("digits", "Show a drawn three"), /^3, /],
      detection: [given("detection", "chelsea.jpg"), /^[1-9]\d* found/],
      segmentation: [given("segmentation", "scene.png"), /^128 x 96 pixels/],
      denoising: [given("denoising", "cast.jpg"), /pixels in/],
      colour: [given("colour", "cast.jpg"), /^The cast/],
      flowers: [given("flowers", "flower.jpg"), /% sure/],
      dcgan: [() => press("dcgan", "From this one to another"), /^From this one to another/],
      diffusion: [() => press("diffusion", "Make a digit"), /^Done/],
      sound: [() => press("sound", "Hear a piano"), /^piano/],
    };
    assert.deepEqual(Object.keys(work), TABS);
    for (const [name, [start, done]] of Object.entries(work)) {
      await open(name);
      const long = await longTasks(async () => {
        await forget(name);
        await start();
        await says(name, done);
      });
      assert.deepEqual(long, [], `${name} has tasks of ${long} ms`);
    }
  });

  test("it fits a phone's screen", async () => {
    await site.page.setViewportSize({ width: 360, height: 740 });
    for (const name of TABS) {
      await open(name);
      const wide = await site.page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= 360, `${name} is ${wide} pixels wide`);
    }
    await shot("phone");
    await site.page.setViewportSize({ width: 1100, height: 900 });
  });

  test("after the first visit it needs no network", async () => {
    await site.page.waitForFunction(() => /works without a network/.test(document.getElementById("network").textContent), null, { timeout: 60000 });
    assert.deepEqual(site.troubles, []);
    site.stopServer();
    await site.page.reload();
    await site.page.goto(`${site.url}#digits`);
    await says("digits", /^3, /);
    await open("flowers");
    await says("flowers", /% sure$/);
  });
});

async function violations(name) {
  // by the debugger: the page's own policy lets no script in
  await site.page.evaluate(await readFile(AXE, "utf8"));
  const { violations: found } = await site.page.evaluate((id) => window.axe.run(document, { resultTypes: ["violations"] }), name);
  const serious = found.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return serious.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map(({ html }) => html.slice(0, 100)).join(" | ")}`);
}

describe("without what it asks for", { concurrency: false }, () => {
  test("a refused camera and microphone are said in a sentence", async () => {
    site = await start({ media: false });
    await site.page.goto(`${site.url}#detection`);
    await says("detection", /^[1-9]\d* found/);
    await press("detection", "Camera");
    await says("detection", /^(The camera was refused|There is no camera here)/);
    await open("sound");
    await says("sound", /^siren/);
    await press("sound", "Microphone");
    await says("sound", /^(The microphone was refused|There is no microphone here)/);
    await site.close();
  });

  test("a plain host without headers has one thread, and no WebAssembly is said in a sentence", async () => {
    site = await start({ media: false, headers: null });
    await site.page.goto(site.url);
    assert.equal(await site.page.evaluate(() => window.crossOriginIsolated), false);
    await says("digits", /^3, /);
    await site.page.route("**/*.wasm", (route) => route.abort());
    await site.page.evaluate(() => navigator.serviceWorker.getRegistrations().then((all) => Promise.all(all.map((one) => one.unregister()))));
    await site.close();
    site = await start({ media: false });
    await site.context.route("**/*.wasm", (route) => route.abort());
    await site.page.goto(site.url);
    await says("digits", /^WebAssembly could not start here, and the models need it/);
    await site.close();
  });
});
