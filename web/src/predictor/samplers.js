// The way of a diffusion model from noise to image, as zoo/samplers.py: one row of four factors per step.

/** Share of the image and of the noise at each level, of the cosine schedule. */
export function schedule({ timesteps, shift = 1, schedule: name = "cosine" }) {
  if (name !== "cosine") throw new Error(`the page knows the schedule cosine, the model has ${name}`);
  const curve = (time) => Math.cos(((time + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
  const signal = [1];
  const noise = [0];
  let product = 1;
  for (let level = 1; level <= timesteps; level++) {
    product *= 1 - Math.min(1 - curve(level / timesteps) / curve((level - 1) / timesteps), 0.999);
    const share = product / (product + shift ** 2 * (1 - product));
    signal.push(Math.sqrt(share));
    noise.push(Math.sqrt(1 - share));
  }
  return { signal, noise };
}

/** The levels to visit, from `timesteps` down to 0. */
export function levels(timesteps, steps) {
  const bend = 0.6 * (1 - steps / timesteps);
  return Array.from({ length: steps + 1 }, (_, step) => {
    const share = (steps - step) / steps;
    const exact = timesteps * (share - (bend * Math.sin(2 * Math.PI * share)) / (2 * Math.PI));
    return Math.floor(exact + 0.499);
  });
}

/** Rows [factor of x, of the guess, of the guess before, of fresh noise]; "dpm_solver++" or "ddpm". */
export function coefficients(signal, noise, sampler) {
  const rows = [];
  const ratio = (at) => Math.log(signal[at] / noise[at]);
  for (let at = 0; at + 1 < signal.length; at++) {
    const lost = Math.max(0, 1 - (signal[at] / signal[at + 1]) ** 2);
    const fresh = sampler === "ddpm" ? (noise[at + 1] / noise[at]) * Math.sqrt(lost) : 0;
    const kept = Math.sqrt(Math.max(0, noise[at + 1] ** 2 - fresh ** 2)) / noise[at];
    const guess = signal[at + 1] - signal[at] * kept;
    const inside = sampler === "dpm_solver++" && at > 0 && at + 2 < signal.length;
    const more = inside ? (ratio(at + 1) - ratio(at)) / (2 * (ratio(at) - ratio(at - 1))) : 0;
    rows.push([kept, guess * (1 + more), -guess * more, fresh]);
  }
  return rows;
}

/** The same way with each step taken `times` times, going back by fresh noise in between (RePaint). */
export function resampled(rows, path, { signal }, times) {
  const found = [];
  rows.forEach((row, at) => {
    const [now, after] = [path[at], path[at + 1]];
    const back = signal[now] / signal[after];
    const jump = [row[0] * back, row[1] * back, 0, Math.hypot(row[3] * back, Math.sqrt(Math.max(0, 1 - back ** 2)))];
    const repeats = after > 0 ? times - 1 : 0;
    for (let again = 0; again < repeats; again++) found.push({ level: now, row: jump });
    found.push({ level: now, row });
  });
  return found;
}

/** A function that draws standard normal numbers, the same for the same seed (not those of Python). */
export function normal(seed) {
  let state = (seed * 2654435761 + 1) >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
