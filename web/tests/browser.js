// A browser on a server of dist/, for tests.

import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { server } from "../serve.js";

export const web = fileURLToPath(new URL("../", import.meta.url));
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** {browser, page, context, url, close, troubles, stopServer}: troubles gathers console errors and requests that leave the server. */
export async function start({ headers, media = true, viewport = { width: 1100, height: 900 }, scheme = "light" } = {}) {
  const running = server(join(web, "dist"), headers);
  await once(running.listen(0, "127.0.0.1"), "listening");
  const url = `http://127.0.0.1:${running.address().port}/`;
  const scratch = await mkdtemp(join(tmpdir(), "zoo-web-"));
  const args = [...QUIET];
  if (media) {
    // the camera shows a cat, the microphone hears a siren
    const frame = await readFile(join(web, "examples/chelsea.jpg"));
    await writeFile(join(scratch, "cat.mjpeg"), Buffer.concat(Array(5).fill(frame)));
    args.push("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream");
    args.push(`--use-file-for-fake-video-capture=${join(scratch, "cat.mjpeg")}`);
    args.push(`--use-file-for-fake-audio-capture=${join(web, "examples/siren.wav")}`);
  }
  const browser = await chromium.launch({ executablePath: CHROMIUM, args });
  const context = await browser.newContext({ viewport, colorScheme: scheme, permissions: media ? ["camera", "microphone"] : [] });
  const page = await context.newPage();
  const troubles = [];
  page.on("console", (line) => line.type() === "error" && troubles.push(line.text()));
  page.on("pageerror", (error) => troubles.push(error.message));
  context.on("request", (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) troubles.push(`foreign: ${request.url()}`);
  });
  const close = async () => {
    await browser.close();
    running.close();
    await rm(scratch, { recursive: true, force: true });
  };
  return { browser, page, context, url, close, troubles, stopServer: () => (running.closeAllConnections(), running.close()) };
}
