// Take a colour cast out of a photo.

import { ask, button, canvas, download, draw, example, facts, figure, fileButton, load, make, message, model, newest, slider } from "./shared.js";

const NAME = "alexnet";

export async function open(panel) {
  const status = message();
  const about = facts("colour");
  const before = canvas(320, 240, "before");
  const after = canvas(320, 240, "after");
  let photo = null;

  const correct = newest(async (fresh) => {
    if (!photo) return;
    await status.during("Looking", async () => {
      if (fresh) draw(before, (await ask("decode", { photo })).image);
      const answer = await ask("answer", { model: model(NAME), photo, options: { strength: strength.value / 100 } });
      draw(after, answer.image);
      about.milliseconds(answer.milliseconds);
      const numbers = Object.entries(answer.cast).map(([channel, value]) => `${channel} ${value >= 0 ? "+" : ""}${value.toFixed(0)}`);
      status.say(`The cast: ${numbers.join(", ")} (of 255).`);
    });
  });
  const strength = slider("Strength", { min: 0, max: 150, step: 10, value: 100, unit: " %" }, () => correct(false));
  const show = (file) => {
    photo = file;
    return correct(true);
  };
  panel.append(
    make("h2", {}, "Take out a colour cast"),
    make("p", { className: "about" }, "Open a photo that came out too blue, too yellow or too green."),
    make("div", { className: "controls" }, fileButton("Open a photo", "image/*", show), button("Show an example", async () => show(await example("cast.jpg"))),
      strength.label, button("Save the result", () => download(after, "corrected.png"))),
    make("div", { className: "stage" }, figure(before, "before"), figure(after, "after, at full size")),
    status.box,
    about.box,
  );
  about.show(NAME);
  await status.during("Loading the model", async () => {
    await load(NAME, status);
    await show(await example("cast.jpg"));
  });
}
