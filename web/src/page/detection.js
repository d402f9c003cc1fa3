// People, vehicles and animals in photos, films and before the camera.

import { ask, button, camera, canvas, download, example, facts, figure, fileButton, load, make, message, model, newest, select, slider } from "./shared.js";
import { COLOURS } from "../predictor/pixels.js";

const EXAMPLES = { yolo_everyday: "chelsea.jpg", yolo_scenes: "objects.png", yolo_bccd: null };

export async function open(panel) {
  const status = message();
  const about = facts("detection");
  const picture = canvas(320, 240, "the photo with boxes");
  const table = make("tbody");
  const filter = make("div", { className: "controls", role: "group", "aria-label": "Classes shown" });
  let [name, hidden, current] = ["yolo_everyday", new Set(), null];

  function paint(bitmap, detections) {
    picture.width = bitmap.width;
    picture.height = bitmap.height;
    const pen = picture.getContext("2d");
    pen.drawImage(bitmap, 0, 0);
    const wide = Math.max(bitmap.width, bitmap.height);
    pen.font = `${Math.max(11, wide / 40)}px sans-serif`;
    pen.lineWidth = Math.max(2, wide / 250);
    pen.textBaseline = "bottom";
    for (const { class_name, class: kind, confidence, box } of [...detections].reverse()) {
      const [left, top, right, bottom] = box;
      const colour = COLOURS[kind % COLOURS.length];
      const text = `${class_name} ${confidence.toFixed(2)}`;
      const high = Math.max(11, wide / 40) * 1.2;
      const base = Math.max(top, high);
      pen.strokeStyle = pen.fillStyle = colour;
      pen.strokeRect(left, top, right - left, bottom - top);
      pen.fillRect(left, base - high, pen.measureText(text).width + 4, high);
      pen.fillStyle = "#fff";
      pen.fillText(text, left + 2, base);
    }
    picture.setAttribute("aria-label", `photo with ${detections.length} boxes`);
  }

  async function look(photo, live = false) {
    const bitmap = photo instanceof ImageBitmap ? photo : await createImageBitmap(photo).catch(() => null);
    const answer = await ask("answer", { model: model(name), photo, options: { confidence: confidence.value } });
    const found = answer.detections.filter(({ class_name }) => !hidden.has(class_name));
    if (bitmap) paint(bitmap, found);
    about.milliseconds(answer.milliseconds);
    const row = ({ class_name, confidence: sure, box }) =>
      make("tr", {}, make("td", {}, class_name), make("td", {}, sure.toFixed(2)), make("td", {}, box.map(Math.round).join(", ")));
    table.replaceChildren(...found.map(row));
    if (!live) status.say(found.length ? `${found.length} found, ${Math.round(answer.milliseconds)} ms` : "Nothing found that is this sure: lower the confidence.");
  }
  const show = newest(async (photo) => {
    current = photo;
    eye.stop();
    await status.during("Looking", () => look(photo));
  });
  const again = newest(() => (current && !eye.on ? status.during("", () => look(current)) : undefined));
  const confidence = slider("Least confidence", { min: 0.05, max: 0.9, step: 0.05, value: 0.25 }, again);
  const eye = camera(status, (bitmap) => look(bitmap, true));
  const choice = select("Network", [["yolo_everyday", "people, vehicles, animals"], ["yolo_scenes", "drawn scenes"], ["yolo_bccd", "blood cells"]], () => change(choice.box.value));

  async function change(wanted) {
    name = wanted;
    hidden = new Set();
    eye.stop();
    about.show(name);
    await status.during("Loading the model", async () => {
      const { labels } = await load(name, status);
      const box = (label) => {
        const tick = make("input", { type: "checkbox", checked: true });
        tick.addEventListener("change", () => {
          tick.checked ? hidden.delete(label) : hidden.add(label);
          again();
        });
        return make("label", {}, tick, label);
      };
      filter.replaceChildren(...labels.map(box));
      if (EXAMPLES[name]) await show(await example(EXAMPLES[name]));
      else status.say("Open a photo of a blood smear under a microscope.");
    });
  }
  panel.append(
    make("h2", {}, "Find objects"),
    make("p", { className: "about" }, "Open a photo or a film, or point the camera at a street."),
    make("div", { className: "controls" }, choice.label, fileButton("Open a photo", "image/*", show),
      fileButton("Open a film", "video/*", (file) => status.during("Starting the film", () => eye.film(file))),
      button("Camera", () => status.during("Starting the camera", () => eye.start())),
      button("Stop", () => eye.stop()), button("Save the picture", () => download(picture, "detections.png"))),
    make("div", { className: "controls" }, confidence.label),
    filter,
    make("div", { className: "stage" }, figure(picture, "boxes, each with its class and confidence")),
    status.box,
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "What was found" },
      make("table", {}, make("thead", {}, make("tr", {}, ["class", "confidence", "left, top, right, bottom"].map((text) => make("th", { scope: "col" }, text)))), table)),
    about.box,
  );
  await change(name);
  return { leave: () => eye.stop() };
}
