// Gathers the page, the runtime and the published models into dist/, a folder that any host can serve.

import { createHash } from "node:crypto";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { marked } from "marked";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = join(here, "..");
const dist = join(here, "dist");
const modules = join(here, "node_modules");

// Where the page may take things from: from itself alone. WebAssembly needs a word of its own.
const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'; style-src 'self'; " +
  "img-src 'self' blob: data:; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'";

const RUNTIME = ["", "_threaded", "_compat"].flatMap((kind) => [
  `litert_wasm${kind}_internal.js`,
  `litert_wasm${kind}_internal.wasm`,
]);

async function runtime() {
  await mkdir(join(dist, "litert/wasm"), { recursive: true });
  const read = (path) => readFile(join(modules, "@litertjs", path), "utf8");
  // a worker knows no import map: the one bare name becomes a path
  const core = (await read("core/dist/index.js")).replaceAll('"@litertjs/wasm-utils"', '"./wasm-utils.js"');
  const plain = (text) => text.replace(/^\/\/# sourceMappingURL=.*$/m, "");
  await writeFile(join(dist, "litert/index.js"), plain(core));
  await writeFile(join(dist, "litert/wasm-utils.js"), plain(await read("wasm-utils/dist/index.js")));
  for (const file of RUNTIME) {
    await cp(join(modules, "@litertjs/core/wasm", file), join(dist, "litert/wasm", file));
  }
}

/** What the page needs of a card, by the name of the model. */
async function models() {
  const found = {};
  for (const name of (await readdir(join(root, "saved_models"))).sort()) {
    const folder = join(root, "saved_models", name);
    const card = JSON.parse(await readFile(join(folder, "card.json"), "utf8"));
    // a file for the web where the runtime here cannot take the phone's
    const files = card.files.filter(({ format }) => format === "tflite");
    const entry = files.find(({ file }) => file === "model_web.tflite") ?? files[0];
    const file = `models/${name}.tflite`;
    await cp(join(folder, entry.file), join(dist, file));
    const settings = card.training?.arguments ?? {};
    found[name] = {
      name,
      file,
      bytes: entry.bytes,
      use: card.use,
      knows: card.knows,
      limits: card.limits,
      metrics: entry.metrics,
      measured_on: entry.measured_on,
      desktop_milliseconds: entry.latency_ms,
      licence: card.licence?.weights,
      image_size: card.image?.size ?? null,
      noise: card.noise ?? null,
      schedule: card.builder === "diffusion" ? { schedule: settings.schedule, shift: settings.shift } : null,
    };
  }
  return found;
}

/** The pages of docs/ as HTML, with their pictures. */
async function documents() {
  const folder = join(root, "docs");
  await mkdir(join(dist, "docs/pictures"), { recursive: true });
  for (const file of await readdir(folder)) {
    if (!file.endsWith(".md")) continue;
    let text = await readFile(join(folder, file), "utf8");
    for (const [, path] of text.matchAll(/!\[[^\]]*\]\(([^)]+)\)/g)) {
      const name = relative(root, join(folder, path)).split(sep).join("-");
      await cp(join(folder, path), join(dist, "docs/pictures", name));
      text = text.replaceAll(`](${path})`, `](pictures/${name})`);
    }
    text = text.replace(/\]\((\w+)\.md(#[\w-]+)?\)/g, "]($1.html$2)");
    const title = text.match(/^# (.*)$/m)?.[1] ?? basename(file, ".md");
    const html =
      `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title>` +
      `<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" content="${POLICY}">` +
      `<link rel="icon" href="../icon.svg"><link rel="stylesheet" href="../style.css"></head><body><main class="document">` +
      `<p><a href="../index.html">Back to the models</a></p>${marked.parse(text)}</main></body></html>`;
    await writeFile(join(dist, "docs", file.replace(/\.md$/, ".html")), html);
  }
}

async function list(folder) {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = await Promise.all(
    entries.map((entry) => (entry.isDirectory() ? list(join(folder, entry.name)) : [join(folder, entry.name)])),
  );
  return found.flat().sort();
}

/** The service worker, with the list of all files and a version that changes with any of them. */
async function offline() {
  const files = await list(dist);
  const hash = createHash("sha256");
  for (const file of files) hash.update(file).update(await readFile(file));
  const paths = files.map((file) => relative(dist, file).split(sep).join("/"));
  const wanted = paths.filter((path) => !path.startsWith("litert/wasm/") || !/compat/.test(path));
  const version = hash.digest("hex").slice(0, 16);
  const source = await readFile(join(here, "src/offline.js"), "utf8");
  const filled = source.replace("VERSION", version).replace('["FILES"]', JSON.stringify(["./", ...wanted], null, 1));
  await writeFile(join(dist, "offline.js"), filled);
}

await rm(dist, { recursive: true, force: true });
await mkdir(join(dist, "models"), { recursive: true });
await runtime();
for (const part of ["style.css", "icon.svg"]) await cp(join(here, part), join(dist, part));
await cp(join(here, "src"), join(dist, "src"), { recursive: true, filter: (path) => !path.endsWith("offline.js") });
await cp(join(here, "examples"), join(dist, "examples"), { recursive: true });
for (const digit of ["three.png", "seven.png"]) await cp(join(root, "tests/images", digit), join(dist, "examples", digit));
const page = await readFile(join(here, "index.html"), "utf8");
await writeFile(join(dist, "index.html"), page.replace("POLICY", POLICY));
await writeFile(join(dist, "models.json"), JSON.stringify(await models(), null, 1));
await documents();
await offline();
console.log(`web/dist: ${(await list(dist)).length} files`);
