// New digits from sixty-four numbers.

import { ask, button, canvas, draw, facts, figure, load, make, message, model, newest, select, slider } from "./shared.js";
import { normal } from "../predictor/samplers.js";

const NAME = "dcgan";
const STEPS = 8;

export async function open(panel) {
  const status = message();
  const about = facts("dcgan");
  const picture = canvas(28, 28, "a new digit", "pixels");
  const strip = make("div", { className: "strip" });
  const sliders = make("div", { className: "sliders", role: "group", "aria-label": "Numbers of the latent vector" });
  let [latent, other, length, labels] = [[], [], 64, []];
  const draws = (seed) => {
    const one = normal(seed);
    return Array.from({ length }, one);
  };
  const image = (vector) => ask("generated", { model: model(NAME), latent: vector, label: Number(label.box.value) });

  const show = newest(async () => {
    try {
      const answer = await image(latent);
      draw(picture, answer.image);
      about.milliseconds(answer.milliseconds);
      status.say(`A ${labels[Number(label.box.value)] ?? "digit"} that nobody wrote.`);
    } catch (error) {
      status.fail(error);
    }
  });
  function knobs() {
    const knob = (at) =>
      slider(`number ${at + 1}`, { min: -3, max: 3, step: 0.1, value: latent[at].toFixed(1) }, (value) => {
        latent[at] = value;
        show();
      }).label;
    sliders.replaceChildren(...Array.from({ length: 8 }, (_, at) => knob(at)));
  }
  function fresh() {
    latent = draws(Math.floor(Math.random() * 1e9));
    knobs();
    return show();
  }
  async function between() {
    await status.during("Going from one to another", async () => {
      other = draws(Math.floor(Math.random() * 1e9));
      const found = [];
      for (let step = 0; step < STEPS; step++) {
        const share = step / (STEPS - 1);
        // along an arc: halfway on the straight line the vector would be too short
        const [a, b] = [Math.cos((share * Math.PI) / 2), Math.sin((share * Math.PI) / 2)];
        const { image: shown } = await image(latent.map((value, at) => a * value + b * other[at]));
        const one = canvas(28, 28, `step ${step + 1} of ${STEPS}`, "pixels");
        draw(one, shown);
        found.push(one);
      }
      strip.replaceChildren(...found);
      status.say("From this one to another.");
    });
  }
  const label = select("Digit", Array.from({ length: 10 }, (_, digit) => [digit, String(digit)]), show);
  label.box.value = "3";
  panel.append(
    make("h2", {}, "New digits at once"),
    make("p", { className: "about" }, "A digit is made of 64 numbers. Move the first eight, draw all of them anew, or go from one digit to another."),
    make("div", { className: "controls" }, label.label, button("Draw anew", fresh), button("From this one to another", between)),
    make("div", { className: "stage" }, figure(picture, "made just now", "small"), make("figure", {}, sliders)),
    strip,
    status.box,
    about.box,
  );
  about.show(NAME);
  await status.during("Loading the model", async () => {
    ({ labels } = await load(NAME, status));
    await fresh();
  });
}
