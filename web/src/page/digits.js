// Draw a digit and see it named, live.

import { ask, bars, board, button, canvas, draw, example, facts, figure, fileButton, load, make, message, model, newest, select } from "./shared.js";

export async function open(panel) {
  const status = message();
  const about = facts("digits");
  const shown = bars();
  const seen = canvas(28, 28, "the drawing as the network sees it", "pixels");
  let name = "mnist_cnn";

  const look = newest(async (photo) => {
    try {
      const answer = await ask("answer", { model: model(name), photo });
      shown.show(answer);
      draw(seen, answer.seen);
      about.milliseconds(answer.milliseconds);
      const turned = answer.inverted ? " (dark on light: turned to its negative)" : "";
      status.say(answer.warning || `${answer.label}, ${Math.round(100 * answer.confidence)} % sure${turned}`);
    } catch (error) {
      status.fail(error);
    }
  });
  const paper = board("Draw here with mouse, finger or pen", async () => look(await paper.bitmap()));
  const choice = select("Network", [["mnist_cnn", "digits"], ["mnist_cnn_fashion_mnist", "clothes"]], async () => {
    name = choice.box.value;
    about.show(name);
    await status.during("", () => load(name, status));
    look(await paper.bitmap());
  });
  const examples = ["three.png", "seven.png"].map((file, index) =>
    button(`Show a drawn ${["three", "seven"][index]}`, () => status.during("", async () => paper.show(await example(file)))),
  );
  panel.append(
    make("h2", {}, "Read handwritten digits"),
    make("p", { className: "about" }, "Draw a digit, or open a picture of one. One digit at a time, in the middle."),
    make("div", { className: "controls" }, choice.label, button("Clear", () => paper.clear()), examples, fileButton("Open a picture", "image/*", look)),
    make("div", { className: "stage" }, figure(paper.target, "your drawing", "small"), figure(seen, "as the network sees it", "small"), make("figure", {}, shown.box)),
    status.box,
    about.box,
  );
  about.show(name);
  await status.during("Loading the model", async () => {
    await load(name, status);
    await paper.show(await example("three.png"));
  });
}
