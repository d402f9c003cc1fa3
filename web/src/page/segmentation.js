// What every pixel of a street is.

import { ask, button, camera, canvas, download, example, facts, figure, fileButton, load, make, message, model, newest, select, slider } from "./shared.js";

export async function open(panel) {
  const status = message();
  const about = facts("segmentation");
  const picture = canvas(320, 240, "the photo under the colours of its classes");
  const legend = make("ul", { className: "legend" });
  let [name, last] = ["unet_scenes", null];

  function paint() {
    if (!last) return;
    const { bitmap, mask, colours } = last;
    picture.width = bitmap.width;
    picture.height = bitmap.height;
    picture.className = bitmap.width < 300 ? "enlarged" : "";
    const pen = picture.getContext("2d", { willReadFrequently: true });
    pen.drawImage(bitmap, 0, 0);
    const image = pen.getImageData(0, 0, bitmap.width, bitmap.height);
    const share = opacity.value / 100;
    for (let at = 0; at < mask.length; at++) {
      const colour = colours[mask[at]];
      for (let channel = 0; channel < 3; channel++) {
        image.data[4 * at + channel] = (1 - share) * image.data[4 * at + channel] + share * colour[channel];
      }
    }
    pen.putImageData(image, 0, 0);
  }

  async function look(photo, live = false) {
    const bitmap = await createImageBitmap(photo).catch(() => null);
    const answer = await ask("answer", { model: model(name), photo });
    last = { bitmap, ...answer };
    paint();
    about.milliseconds(answer.milliseconds);
    const rows = Object.entries(answer.share).map(([label, share], index) => ({ label, share, colour: answer.colours[index] }));
    const item = ({ label, share, colour }) =>
      make("li", {}, make("svg", { viewBox: "0 0 1 1", "aria-hidden": "true" }, make("rect", { width: 1, height: 1, fill: `rgb(${colour})` })), `${label} ${(100 * share).toFixed(1)} %`);
    legend.replaceChildren(...rows.filter(({ share }) => share > 0).sort((a, b) => b.share - a.share).map(item));
    if (!live) status.say(`${answer.width} x ${answer.height} pixels, ${Math.round(answer.whole_milliseconds)} ms`);
  }
  const show = newest(async (photo) => {
    eye.stop();
    await status.during("Looking", () => look(photo));
  });
  const opacity = slider("Opacity", { min: 0, max: 100, step: 5, value: 50, unit: " %" }, paint);
  const eye = camera(status, (bitmap) => look(bitmap, true));
  const choice = select("Network", [["unet_scenes", "drawn scenes"], ["unet", "photos of streets"]], () => change(choice.box.value));
  async function change(wanted) {
    name = wanted;
    about.show(name);
    await status.during("Loading the model", async () => {
      await load(name, status);
      if (name === "unet_scenes") await show(await example("scene.png"));
      else status.say("Open a photo of a street, taken through a windscreen.");
    });
  }
  panel.append(
    make("h2", {}, "Label a street"),
    make("p", { className: "about" }, "Open a photo taken through a windscreen, or use the camera."),
    make("div", { className: "controls" }, choice.label, fileButton("Open a photo", "image/*", show),
      button("Camera", () => status.during("Starting the camera", () => eye.start())), button("Stop", () => eye.stop()),
      button("Save the picture", () => download(picture, "classes.png")), opacity.label),
    make("div", { className: "stage" }, figure(picture, "each class in its colour")),
    legend,
    status.box,
    about.box,
  );
  await change(name);
  return { leave: () => eye.stop() };
}
