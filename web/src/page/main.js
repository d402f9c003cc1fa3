// The tabs: each is a module that builds its panel when it is first opened.

import { make } from "./shared.js";

const TABS = [
  ["digits", "Digits"],
  ["detection", "Objects"],
  ["segmentation", "Streets"],
  ["denoising", "Noise"],
  ["colour", "Colours"],
  ["flowers", "Flowers"],
  ["dcgan", "New digits"],
  ["diffusion", "Diffusion"],
  ["sound", "Sounds"],
];

const list = document.getElementById("tabs");
const panels = document.getElementById("panels");
const opened = new Map();

for (const [name, title] of TABS) {
  const tab = make("button", { type: "button", role: "tab", id: `tab-${name}`, tabIndex: -1 }, title);
  tab.setAttribute("aria-controls", `panel-${name}`);
  tab.setAttribute("aria-selected", "false");
  tab.addEventListener("click", () => show(name));
  list.append(tab);
  const panel = make("div", { id: `panel-${name}`, role: "tabpanel", tabIndex: 0, hidden: true });
  panel.setAttribute("aria-labelledby", `tab-${name}`);
  panels.append(panel);
}

list.addEventListener("keydown", (event) => {
  const names = TABS.map(([name]) => name);
  const at = names.findIndex((name) => document.activeElement?.id === `tab-${name}`);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  const name = names[(to + names.length) % names.length];
  show(name);
  document.getElementById(`tab-${name}`).focus();
});

async function show(name) {
  for (const [other] of TABS) {
    const tab = document.getElementById(`tab-${other}`);
    const chosen = other === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(`panel-${other}`).hidden = !chosen;
    if (!chosen) opened.get(other)?.then((tab) => tab?.leave?.());
  }
  if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  if (!opened.has(name)) {
    const panel = document.getElementById(`panel-${name}`);
    opened.set(
      name,
      import(`./${name}.js`)
        .then((module) => module.open(panel))
        .catch((error) => {
          opened.delete(name);
          panel.replaceChildren(make("p", { className: "message error", role: "alert" }, `This part could not be loaded: ${error.message}`));
        }),
    );
  }
}

window.addEventListener("hashchange", () => show(named(location.hash)));
const named = (hash) => TABS.map(([name]) => name).find((name) => `#${name}` === hash) ?? TABS[0][0];
show(named(location.hash));

const network = document.getElementById("network");
if ("serviceWorker" in navigator) {
  navigator.serviceWorker
    .register("offline.js")
    .then(() => navigator.serviceWorker.ready)
    .then(() => (network.textContent = "The page and all models are kept on this device: it works without a network."))
    .catch(() => (network.textContent = "This browser does not keep the page: it needs the network each time."));
} else {
  network.textContent = "This browser does not keep the page: it needs the network each time.";
}
