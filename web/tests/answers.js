// Answers of the browser to jobs on standard input, as JSON on standard output: what tests/test_web.py compares.
//
// A job is {verb, model, photo | wav: path, ...}: see src/predictor/worker.js.

import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { start } from "./browser.js";

const jobs = JSON.parse(await text(process.stdin));
const { page, url, close, troubles } = await start({ media: false });
await page.goto(`${url}docs/web.html`); // any page of the server: nothing else runs on it
const answers = [];
for (const { model, photo, wav, ...rest } of jobs) {
  const bytes = photo || wav ? (await readFile(photo ?? wav)).toString("base64") : null;
  answers.push(
    await page.evaluate(
      async ({ model, rest, bytes, isPhoto }) => {
        const { ask, model: about } = await import("/src/page/shared.js");
        const given = { ...rest, model: about(model) };
        if (bytes) {
          const raw = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
          if (isPhoto) given.photo = new Blob([raw]);
          else given.wav = raw.buffer;
        }
        // numbers as they are; pictures as base64 of their bytes
        const base64 = (data) => btoa(Array.from(data, (value) => String.fromCharCode(value)).join(""));
        const plain = (value) => {
          if (value instanceof ImageData) return { width: value.width, height: value.height, rgba: base64(value.data) };
          if (value instanceof Uint8Array) return { bytes: base64(value) };
          if (ArrayBuffer.isView(value)) return Array.from(value);
          if (Array.isArray(value)) return value.map(plain);
          if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plain(one)]));
          return value;
        };
        try {
          return plain(await ask(given.verb, given));
        } catch (error) {
          return { error: error.message };
        }
      },
      { model, rest, bytes, isPhoto: Boolean(photo) },
    ),
  );
}
await close();
console.log(JSON.stringify({ answers, troubles }));
