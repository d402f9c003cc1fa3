// Spoken digits and other sounds: from a file, or from the microphone as it runs.

import { ask, bars, button, canvas, draw, example, facts, figure, fileButton, load, make, message, model, refused, select } from "./shared.js";
import { spectrogram } from "./spectrogram.js";

export async function open(panel) {
  const status = message();
  const about = facts("sound");
  const shown = bars();
  const picture = canvas(640, 160, "spectrogram: time to the right, high above");
  const table = make("tbody");
  let [name, context, stream, rate, block] = ["spectrogram_cnn_sounds", null, null, 0, 0];

  const scratch = canvas(1, 1, "");
  /** Draws a spectrogram over the whole canvas, or moves what is there to the left and adds it at the end. */
  function paint(samples, scroll) {
    const pen = picture.getContext("2d");
    if (!scroll) pen.clearRect(0, 0, picture.width, picture.height);
    const image = spectrogram(samples, picture.width);
    if (!image) return;
    draw(scratch, image);
    const wide = scroll ? 4 * image.width : picture.width;
    if (scroll) pen.drawImage(picture, -wide, 0);
    pen.drawImage(scratch, picture.width - wide, 0, wide, picture.height);
  }
  function rows(timeline) {
    const row = ({ start, end, label, confidence }) =>
      make("tr", {}, make("td", {}, `${start.toFixed(1)} to ${end.toFixed(1)} s`), make("td", {}, String(label)), make("td", {}, confidence.toFixed(2)));
    table.replaceChildren(...timeline.map(row));
  }

  const show = (file) => status.during("Listening", async () => {
    stop();
    let answer = await ask("heard", { model: model(name), wav: await file.arrayBuffer() });
    if (answer.undecoded) {
      const audio = new OfflineAudioContext(1, 1, 48000);
      const decoded = await audio.decodeAudioData(await file.arrayBuffer()).catch(() => null);
      if (!decoded) throw new Error("This is not a sound that the browser can read: WAV, MP3, OGG or FLAC.");
      const channels = Array.from({ length: decoded.numberOfChannels }, (_, channel) => decoded.getChannelData(channel));
      answer = await ask("heard", { model: model(name), sound: { channels, rate: decoded.sampleRate } });
    }
    shown.show(answer);
    rows(answer.timeline);
    paint(answer.waveform.subarray(0, rate * 20), false);
    about.milliseconds(answer.milliseconds);
    status.say(answer.warning || `${answer.label}, ${Math.round(100 * answer.confidence)} % sure`);
  });

  async function listen() {
    stop();
    if (!navigator.mediaDevices?.getUserMedia) throw new Error("This browser gives pages no microphone (it needs https or localhost).");
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
    } catch (error) {
      throw new Error(refused(error, "microphone"));
    }
    context = new AudioContext({ sampleRate: rate });
    await context.audioWorklet.addModule(new URL("./microphone.js", import.meta.url));
    const node = new AudioWorkletNode(context, "blocks", { processorOptions: { length: block } });
    let busy = false;
    node.port.onmessage = async ({ data }) => {
      paint(data, true);
      if (busy || !context) return;
      busy = true;
      try {
        const answer = await ask("streamed", { model: model(name), samples: data });
        shown.show(answer);
        about.milliseconds(answer.milliseconds);
        if (context) status.say(`Listening: ${answer.label}, ${Math.round(100 * answer.confidence)} % sure`);
      } catch (error) {
        stop();
        status.fail(error);
      }
      busy = false;
    };
    context.createMediaStreamSource(stream).connect(node);
    picture.getContext("2d").clearRect(0, 0, picture.width, picture.height);
    table.replaceChildren();
    status.say("Listening.");
  }
  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    context?.close();
    stream = context = null;
  }
  const choice = select("Network", [["spectrogram_cnn_sounds", "chirps, sirens, chords ..."], ["spectrogram_cnn", "spoken digits"]], () => change(choice.box.value));
  async function change(wanted) {
    stop();
    name = wanted;
    about.show(name);
    await status.during("Loading the model", async () => {
      const opened = await load(name, status);
      [rate, block] = [opened.metadata.sound.sample_rate, opened.block];
      if (name === "spectrogram_cnn_sounds") await show(await example("siren.wav"));
      else status.say("Say a digit into the microphone, or open a recording of one.");
    });
  }
  panel.append(
    make("h2", {}, "Name a sound"),
    make("p", { className: "about" }, "Open a sound file, or let the microphone run."),
    make("div", { className: "controls" }, choice.label, fileButton("Open a sound", "audio/*", show),
      button("Microphone", () => status.during("Starting the microphone", listen)), button("Stop", () => { stop(); status.say("Stopped."); }),
      ["siren", "piano", "thunder"].map((sound) => button(`Hear a ${sound}`, async () => show(await example(`${sound}.wav`))))),
    make("div", { className: "stage" }, figure(picture, "spectrogram: time to the right, high above"), make("figure", {}, shown.box)),
    status.box,
    make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "What was heard when" },
      make("table", {}, make("thead", {}, make("tr", {}, ["when", "what", "confidence"].map((text) => make("th", { scope: "col" }, text)))), table)),
    about.box,
  );
  await change(name);
  return { leave: stop };
}
