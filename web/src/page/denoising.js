// Take the noise out of a photo or of a scanned digit, or make a photo larger.

import { ask, board, button, canvas, download, draw, example, facts, figure, fileButton, load, make, message, model, newest, select, slider } from "./shared.js";

export async function open(panel) {
  const status = message();
  const about = facts("denoising");
  const before = canvas(256, 256, "before");
  const after = canvas(256, 256, "after");
  let [name, photo] = ["denoising_photos", null];

  const clean = newest(async () => {
    if (!photo) return;
    await status.during("Cleaning", async () => {
      const sigma = name === "super_resolution" ? 0 : noise.value;
      const noisy = await ask("noisy", { photo, sigma, seed: 1, grey: name === "denoising_autoencoder" });
      draw(before, noisy.image);
      const tell = (done, all) => status.say(`Cleaning: part ${done} of ${all}`);
      const answer = await ask("answer", { model: model(name), photo: noisy.photo }, tell);
      draw(after, answer.image);
      about.milliseconds(answer.milliseconds);
      status.say(answer.warning || `${answer.width} x ${answer.height} pixels in ${Math.round(answer.whole_milliseconds)} ms`);
    });
  });
  const noise = slider("Noise added (sigma)", { min: 0, max: 80, step: 5, value: 25 }, clean);
  const show = (file) => {
    photo = file;
    clean();
  };
  // a digit as the network knows them: 28 pixels high
  const drawn = newest(async () => {
    const large = await paper.bitmap();
    show(await createImageBitmap(large, { resizeWidth: 28, resizeHeight: 28, resizeQuality: "high" }));
    large.close();
  });
  const paper = board("Draw a digit here with mouse, finger or pen", drawn);
  const drawing = figure(paper.target, "draw a digit here", "small");
  const clear = button("Clear", () => paper.clear());
  const choice = select("Network", [["denoising_photos", "photos"], ["denoising_autoencoder", "scanned digits"], ["super_resolution", "twice as large"]], () => change(choice.box.value));
  async function change(wanted) {
    name = wanted;
    about.show(name);
    noise.label.hidden = name === "super_resolution";
    const digits = name === "denoising_autoencoder";
    drawing.hidden = clear.hidden = !digits;
    before.className = after.className = digits ? "pixels" : "";
    await status.during("Loading the model", async () => {
      await load(name, status);
      show(await example(digits ? "three.png" : "chelsea.jpg"));
    });
  }
  panel.append(
    make("h2", {}, "Take out noise, or enlarge"),
    make("p", { className: "about" }, "Open a photo. Noise is added to it so that there is something to take out; at 0 it is cleaned as it is. Scanned digits can be drawn, too. Twice as large: save the result to see all of it."),
    make("div", { className: "controls" }, choice.label, fileButton("Open a photo", "image/*", show), clear, noise.label, button("Save the result", () => download(after, "restored.png"))),
    make("div", { className: "stage" }, drawing, figure(before, "before"), figure(after, "after")),
    status.box,
    about.box,
  );
  await change(name);
}
