// Name a garden flower.

import { ask, bars, canvas, draw, example, facts, figure, fileButton, load, make, message, model, newest, button } from "./shared.js";

const NAME = "image_classifier";

export async function open(panel) {
  const status = message();
  const about = facts("image_classifier");
  const shown = bars();
  const photo = canvas(128, 128, "the photo");

  const look = newest(async (file) => {
    try {
      const [answer, { image }] = await Promise.all([ask("answer", { model: model(NAME), photo: file }), ask("decode", { photo: file })]);
      shown.show(answer);
      draw(photo, image);
      about.milliseconds(answer.milliseconds);
      status.say(`${answer.label}, ${Math.round(100 * answer.confidence)} % sure`);
    } catch (error) {
      status.fail(error);
    }
  });
  panel.append(
    make("h2", {}, "Name a flower"),
    make("p", { className: "about" }, "Open a photo of a daisy, dandelion, rose, sunflower or tulip. Anything else is taken for one of them."),
    make("div", { className: "controls" }, fileButton("Open a photo", "image/*", look), button("Show a dahlia, which it does not know", async () => look(await example("flower.jpg")))),
    make("div", { className: "stage" }, figure(photo, "the photo"), make("figure", {}, shown.box)),
    status.box,
    about.box,
  );
  about.show(NAME);
  await status.during("Loading the model", async () => {
    await load(NAME, status);
    await look(await example("flower.jpg"));
  });
}
