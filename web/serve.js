// Serves dist/ on this machine alone: node serve.js [PORT]

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".jpg": "image/jpeg",
  ".wav": "audio/wav",
  ".tflite": "application/octet-stream",
};
// so that the models may use threads: with them the page is cut off from others in its process
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "X-Content-Type-Options": "nosniff",
  "Cache-Control": "no-cache",
};

const dist = fileURLToPath(new URL("./dist/", import.meta.url));

/** A server of a folder; `headers` null serves it as a plain host does. */
export function server(folder = dist, headers = HEADERS) {
  return createServer(async (request, response) => {
    let path;
    try {
      path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
    } catch {
      response.writeHead(400).end();
      return;
    }
    const file = join(folder, path.endsWith(sep) ? `${path}index.html` : path);
    const found = file.startsWith(folder) && (await stat(file).catch(() => null));
    if (!found || !found.isFile() || !["GET", "HEAD"].includes(request.method)) {
      response.writeHead(found ? 405 : 404, { "Content-Type": "text/plain" }).end("there is no such file\n");
      return;
    }
    response.writeHead(200, {
      "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
      "Content-Length": found.size,
      ...headers,
    });
    if (request.method === "HEAD") response.end();
    else createReadStream(file).pipe(response);
  });
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const port = Number(process.argv[2] ?? process.env.PORT ?? 8000);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    console.error(`the port must be 0 to 65535, got ${process.argv[2] ?? process.env.PORT}`);
    process.exit(2);
  }
  if (!(await stat(join(dist, "index.html")).catch(() => null))) {
    console.error("there is no web/dist yet: make web builds it");
    process.exit(2);
  }
  const running = server();
  running.on("error", (error) => {
    console.error(error.code === "EADDRINUSE" ? `port ${port} is taken: PORT=8001 make web` : error.message);
    process.exit(2);
  });
  running.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${running.address().port}/`));
}
