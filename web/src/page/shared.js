// What every tab needs: the worker, elements, canvases, files, bars, the facts of a model.

const worker = new Worker(new URL("../predictor/worker.js", import.meta.url));
const waiting = new Map();
let number = 0;

worker.addEventListener("message", ({ data: { id, result, error, progress } }) => {
  const { resolve, reject, tell } = waiting.get(id) ?? {};
  if (progress) return tell?.(...progress);
  waiting.delete(id);
  if (error !== undefined) reject?.(new Error(error));
  else resolve?.(result);
});
worker.addEventListener("error", () => {
  for (const { reject } of waiting.values()) reject(new Error("The part of the page that runs the models has stopped: load the page again."));
  waiting.clear();
});

/** Asks the worker; `tell` hears the progress. */
export function ask(verb, given = {}, tell, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++number, { resolve, reject, tell });
    worker.postMessage({ id: number, verb, ...given }, transfer);
  });
}

export const models = await fetch(new URL("../../models.json", import.meta.url)).then((response) => response.json());

/** What the worker needs to know of a model. */
export function model(name) {
  const { file, knows, image_size, schedule } = models[name];
  return { name, file, card: { knows, image_size, schedule } };
}

// elements -----------------------------------------------------------------------------------------------------------

/** An element with attributes, listeners (on...) and children. */
export function make(name, attributes = {}, ...children) {
  const svg = ["svg", "rect"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !svg && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat());
  return element;
}

export const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);

export function select(text, options, onchange) {
  const box = make("select", { onchange }, options.map(([value, shown]) => make("option", { value }, shown)));
  return { box, label: make("label", {}, text, box) };
}

export function slider(text, { min, max, step = 1, value, unit = "" }, oninput) {
  const shown = make("output", {}, `${value}${unit}`);
  const box = make("input", { type: "range", min, max, step, value });
  box.addEventListener("input", () => {
    shown.textContent = `${box.value}${unit}`;
    oninput?.(Number(box.value));
  });
  return { box, label: make("label", {}, text, box, shown), get value() { return Number(box.value); } };
}

/** A button that takes a file; `onfile` gets it. */
export function fileButton(text, accept, onfile) {
  const box = make("input", { type: "file", accept });
  box.addEventListener("change", () => {
    const [file] = box.files;
    box.value = "";
    if (file) onfile(file);
  });
  return make("label", { className: "file" }, text, box);
}

/** A canvas with words for those who do not see it. */
export function canvas(width, height, label, className = "") {
  return make("canvas", { width, height, className, role: "img", "aria-label": label });
}

/** Draws ImageData, the canvas taking its size. */
export function draw(target, image) {
  target.width = image.width;
  target.height = image.height;
  target.getContext("2d").putImageData(image, 0, 0);
}

export const figure = (element, text, className = "") => make("figure", { className }, element, make("figcaption", {}, text));

/** Bars of probabilities that keep their places. */
export function bars() {
  const box = make("div", { className: "bars" });
  const rows = new Map();
  return {
    box,
    show({ probabilities, label }) {
      const names = Object.keys(probabilities);
      if (names.join("\n") !== [...rows.keys()].join("\n")) {
        rows.clear();
        box.replaceChildren();
        for (const name of names) {
          const row = [
            make("span", {}, name),
            make("meter", { min: 0, max: 1, value: 0, "aria-label": `probability of ${name}` }),
            make("span", {}, ""),
          ];
          rows.set(name, row);
          box.append(...row);
        }
      }
      for (const [name, [title, meter, text]] of rows) {
        meter.value = probabilities[name];
        text.textContent = `${(100 * probabilities[name]).toFixed(probabilities[name] < 0.1 ? 1 : 0)} %`;
        title.className = text.className = name === String(label) ? "best" : "";
      }
    },
  };
}

/** A line that says what goes on, what is the matter, or what came out. */
export function message() {
  const box = make("p", { className: "message", role: "status" });
  return {
    box,
    say(text) {
      box.className = "message";
      box.textContent = text;
    },
    fail(error) {
      box.className = "message error";
      box.textContent = error.message ?? String(error);
    },
    /** Does something, and says what is the matter if it fails; the page goes on. */
    async during(text, work) {
      this.say(text);
      try {
        return await work();
      } catch (error) {
        this.fail(error);
        return undefined;
      }
    },
  };
}

const METRICS = {
  accuracy: (value) => `accuracy ${(100 * value).toFixed(1)} %`,
  mean_iou: (value) => `mean IoU ${value.toFixed(3)}`,
  mAP50: (value) => `mAP50 ${value.toFixed(3)}`,
  psnr: (value) => `PSNR ${value.toFixed(1)} dB`,
  rmse: (value) => `RMSE ${value.toFixed(1)}`,
  frechet_distance: (value) => `Fréchet distance ${value.toFixed(2)}`,
};

/** Size, quality, milliseconds, limits and licence of a model; `milliseconds` writes those of this device. */
export function facts(page) {
  const own = make("span", {}, "not run yet");
  const text = make("span");
  const limits = make("span");
  const box = make("p", { className: "facts" }, text, " One answer on this device: ", own, ". ", limits, " ");
  box.append(make("a", { href: `docs/${page}.html` }, "More about it"), ".");
  return {
    box,
    show(name) {
      const { bytes, metrics, measured_on, licence, knows } = models[name];
      const [metric] = Object.keys(metrics ?? {}).filter((key) => METRICS[key]);
      const size = bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
      const quality = metric ? `, ${METRICS[metric](metrics[metric])} (${measured_on})` : "";
      text.textContent = `${name}: ${size}${quality}. It knows ${knows}. Licence of the weights: ${licence}.`;
      limits.textContent = models[name].limits ?? "";
      own.textContent = "not run yet";
    },
    milliseconds(value) {
      own.textContent = value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
    },
  };
}

/** Loads a model, saying how far it is. */
export async function load(name, status) {
  const { bytes } = models[name];
  const tell = (done, all) => status.say(`Loading the model: ${Math.round((100 * done) / (all || bytes))} %`);
  const opened = await ask("open", { model: model(name) }, tell);
  status.say("Ready.");
  return opened;
}

/** A file of examples/ as a Blob. */
export async function example(name) {
  const response = await fetch(new URL(`../../examples/${name}`, import.meta.url)).catch(() => null);
  if (!response?.ok) throw new Error("The example could not be loaded.");
  return response.blob();
}

/** Offers a canvas as a file. */
export function download(target, name) {
  target.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  });
}

/** Something that is done with the newest of what comes, never twice at a time. */
export function newest(work) {
  let running = false;
  let next = null;
  return async function run(...given) {
    if (running) {
      next = given;
      return;
    }
    running = true;
    try {
      await work(...given);
    } finally {
      running = false;
    }
    if (next) {
      const again = next;
      next = null;
      await run(...again);
    }
  };
}

/** Frames of a camera or film, one after the other: `onframe(bitmap)` is waited for, and ends it where it fails. */
export function camera(status, onframe) {
  const video = make("video", { muted: true, playsInline: true, autoplay: true });
  video.setAttribute("playsinline", "");
  let stream = null;
  let running = 0;
  async function follow() {
    const own = ++running;
    let [all, frames, since] = [0, 0, performance.now()];
    while (own === running && !video.ended) {
      // a video may be ready and have no frame to give yet: the next one then
      const bitmap = video.readyState >= 2 ? await createImageBitmap(video).catch(() => null) : null;
      if (bitmap && own === running) {
        try {
          await onframe(bitmap);
        } catch (error) {
          camera.stop();
          status.fail(error);
          return;
        }
        all++;
        frames++;
        const seconds = (performance.now() - since) / 1000;
        if (seconds > 1 && own === running) {
          status.say(`${(frames / seconds).toFixed(1)} frames a second`);
          [frames, since] = [0, performance.now()];
        }
      }
      await new Promise((done) => requestAnimationFrame(done));
    }
    if (own !== running) return;
    camera.stop();
    if (all) status.say(`The film has ended: ${all} frames were looked at.`);
    else status.fail("The browser gave no frame of this film.");
  }
  const camera = {
    video,
    get on() {
      return Boolean(stream) || (video.src && !video.paused);
    },
    async start() {
      this.stop();
      if (!navigator.mediaDevices?.getUserMedia) throw new Error("This browser gives pages no camera (it needs https or localhost).");
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
      } catch (error) {
        throw new Error(refused(error, "camera"));
      }
      video.srcObject = stream;
      await video.play();
      follow();
    },
    async film(file) {
      this.stop();
      video.src = URL.createObjectURL(file);
      try {
        await video.play();
      } catch {
        video.removeAttribute("src");
        throw new Error("This is not a film that the browser can play: MP4 or WebM.");
      }
      follow();
    },
    stop() {
      running++;
      stream?.getTracks().forEach((track) => track.stop());
      stream = null;
      video.pause();
      video.srcObject = null;
      if (video.src) URL.revokeObjectURL(video.src);
      video.removeAttribute("src");
    },
  };
  return camera;
}

export function refused(error, what) {
  if (["NotAllowedError", "SecurityError"].includes(error.name)) {
    return `The ${what} was refused: allow it in the browser's address bar, or choose a file.`;
  }
  return `There is no ${what} here (${error.name}): choose a file.`;
}

/** A square to draw on by pointer, on black; `onchange` is called while drawing. */
export function board(label, onchange, colour = "#fff") {
  const side = 280;
  const target = canvas(side, side, label, "board");
  target.tabIndex = 0;
  const pen = target.getContext("2d", { willReadFrequently: true });
  let [last, drawn] = [null, false];
  const place = ({ clientX, clientY }) => {
    const box = target.getBoundingClientRect();
    return [((clientX - box.left) * side) / box.width, ((clientY - box.top) * side) / box.height];
  };
  function clear() {
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, side, side);
    drawn = false;
  }
  function line(from, to) {
    Object.assign(pen, { strokeStyle: colour, lineWidth: 22, lineCap: "round", lineJoin: "round" });
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(to[0] + 0.01, to[1]);
    pen.stroke();
    drawn = true;
    onchange();
  }
  target.addEventListener("pointerdown", (event) => {
    target.setPointerCapture(event.pointerId);
    last = place(event);
    line(last, last);
  });
  target.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = place(event);
    line(last, next);
    last = next;
  });
  for (const end of ["pointerup", "pointercancel"]) target.addEventListener(end, () => (last = null));
  clear();
  return {
    target,
    line,
    get drawn() {
      return drawn;
    },
    clear() {
      clear();
      onchange();
    },
    async show(blob) {
      const bitmap = await createImageBitmap(blob);
      pen.imageSmoothingEnabled = true;
      pen.drawImage(bitmap, 0, 0, side, side);
      bitmap.close();
      drawn = true;
      onchange();
    },
    bitmap: () => createImageBitmap(target),
    /** What lies below the drawing. */
    under(image) {
      const small = canvas(1, 1, "");
      draw(small, image);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(small, 0, 0, side, side);
      drawn = false;
    },
  };
}
