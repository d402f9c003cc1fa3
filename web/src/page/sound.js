// Spoken digits and other sounds: from a file, or from the microphone as it runs.

import { ask, bars, button, canvas, example, facts, figure, fileButton, load, make, message, model, refused, select } from "./shared.js";

export async function open(panel) {
  const status = message();
  const about = facts("sound");
  const shown = bars();
  const picture = canvas(640, 160, "spectrogram: time to the right, high above");
  const table = make("tbody");
  let [name, context, stream, rate, block] = ["spectrogram_cnn_sounds", null, null, 0, 0];

  /** Columns of a spectrogram, for the eye only: 64 bands up to half the rate. */
  function columns(samples) {
    const [window, bands] = [256, 64];
    const found = [];
    for (let start = 0; start + window <= samples.length; start += window / 2) {
      const column = new Float32Array(bands);
      for (let band = 0; band < bands; band++) {
        let [real, imaginary] = [0, 0];
        for (let at = 0; at < window; at += 1) {
          const value = samples[start + at] * (0.5 - 0.5 * Math.cos((2 * Math.PI * at) / window));
          const angle = (Math.PI * (2 * band + 1) * at) / window;
          real += value * Math.cos(angle);
          imaginary -= value * Math.sin(angle);
        }
        column[band] = Math.log10(1e-6 + real * real + imaginary * imaginary);
      }
      found.push(column);
    }
    return found;
  }
  function paint(samples, scroll) {
    const found = columns(samples);
    const pen = picture.getContext("2d");
    const [width, height] = [picture.width, picture.height];
    const wide = scroll ? 4 : width / Math.max(1, found.length);
    if (scroll) pen.drawImage(picture, -wide * found.length, 0);
    else pen.clearRect(0, 0, width, height);
    found.forEach((column, index) => {
      const left = scroll ? width - wide * (found.length - index) : wide * index;
      column.forEach((value, band) => {
        const light = Math.max(0, Math.min(1, (value + 4) / 6));
        pen.fillStyle = `rgb(${Math.round(255 * light ** 2)}, ${Math.round(230 * light)}, ${Math.round(90 + 80 * light)})`;
        pen.fillRect(left, height - ((band + 1) * height) / column.length, wide + 1, height / column.length + 1);
      });
    });
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
