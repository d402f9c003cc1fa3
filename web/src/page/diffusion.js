// A digit out of noise, step by step; and one completed where it was erased.

import { ask, board, button, canvas, draw, facts, figure, load, make, message, model, select, slider } from "./shared.js";

const NAME = "diffusion";

export async function open(panel) {
  const status = message();
  const about = facts("diffusion");
  const picture = canvas(28, 28, "the digit as it comes out of the noise", "pixels");
  const progress = make("progress", { max: 1, value: 0 });
  progress.setAttribute("aria-label", "steps done");
  let [last, made, working] = [null, null, false];

  async function make_digit(settings, text) {
    if (working) return;
    working = true;
    for (const one of buttons) one.disabled = true;
    await status.during(text, async () => {
      const tell = (done, all, image) => {
        progress.max = all;
        progress.value = done;
        draw(picture, image);
        status.say(`Step ${done} of ${all}`);
      };
      const answer = await ask("diffused", { model: model(NAME), settings }, tell);
      draw(picture, answer.image);
      last = answer.pixels;
      made = answer.image;
      eraser.under(made);
      about.milliseconds(answer.milliseconds);
      status.say(`Done: ${Math.round(answer.milliseconds)} ms in the network.`);
    });
    working = false;
    for (const one of buttons) one.disabled = false;
  }
  const wanted = () => (label.box.value === "" ? null : Number(label.box.value));
  const create = () => make_digit({ label: wanted(), steps: steps.value, seed: Number(seed.value) || 0 }, "Making a digit");

  const eraser = board("Draw over what is to be made up anew", () => {}, "#ff5a36");
  async function complete() {
    if (!last) return;
    if (!eraser.drawn) {
      status.fail(new Error("Draw over the digit on the right what is to be made up anew."));
      return;
    }
    const { image } = await ask("decode", { photo: await eraser.bitmap() });
    const missing = Array.from({ length: 28 * 28 }, (_, at) => {
      const [x, y] = [at % 28, Math.floor(at / 28)].map((place) => Math.floor(((place + 0.5) * image.width) / 28));
      const [red, , blue] = image.data.subarray(4 * (y * image.width + x));
      return red - blue > 80 ? 1 : 0; // the colour of the marks
    });
    await make_digit({ label: wanted(), steps: Math.max(20, steps.value), seed: Number(seed.value) || 0, known: last, missing }, "Completing");
  }
  const label = select("Digit", [["", "any"], ...Array.from({ length: 10 }, (_, digit) => [String(digit), String(digit)])], () => {});
  label.box.value = "5";
  const steps = slider("Steps", { min: 5, max: 50, step: 5, value: 20 });
  const seed = make("input", { type: "number", min: 0, max: 999999, value: 7, inputMode: "numeric" });
  const buttons = [
    button("Make a digit", create, { className: "main" }),
    button("Another one", () => {
      seed.value = Math.floor(Math.random() * 1000000);
      create();
    }),
    button("Make up what is marked", complete),
  ];
  panel.append(
    make("h2", {}, "A digit out of noise"),
    make("p", { className: "about" }, "Each step the network guesses the clean image, and a little noise is taken away. Then draw over a part of it to have that made up anew, as another digit if you like."),
    make("div", { className: "controls" }, label.label, steps.label, make("label", {}, "Seed", seed), buttons),
    make("div", { className: "controls" }, progress),
    make("div", { className: "stage" }, figure(picture, "as it is guessed now", "small"), figure(eraser.target, "draw over what is to be made up anew", "small"), button("Clear the marks", () => made && eraser.under(made))),
    status.box,
    about.box,
  );
  about.show(NAME);
  await status.during("Loading the model", async () => {
    await load(NAME, status);
    await create();
  });
}
