"use strict";
// What pages do beyond showing: pictures of sounds, boxes that the keyboard reaches, search with excerpts, whole prints.

// ---- A spectrogram above each player, made of its own samples, with a cursor that moves as it plays.
const [SIZE, HOP, BINS, RATE, RANGE_DB] = [512, 128, 64, 16000, 70]; // 32 ms every 8 ms; 64 bins are 2 kHz
const MAGMA = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];

function powers(samples, start) { // of the lowest BINS bins of one window, by a radix-2 FFT
  const re = new Float64Array(SIZE), im = new Float64Array(SIZE);
  for (let i = 0, j = 0; i < SIZE; i++) {
    re[j] = (samples[start + i] || 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE));
    for (let bit = SIZE >> 1; (j ^= bit) < bit && bit; bit >>= 1); // the next index with its bits reversed
  }
  for (let half = 1; half < SIZE; half *= 2) {
    for (let k = 0; k < half; k++) {
      const [c, s] = [Math.cos((Math.PI * k) / half), -Math.sin((Math.PI * k) / half)];
      for (let a = k; a < SIZE; a += 2 * half) {
        const b = a + half, x = c * re[b] - s * im[b], y = s * re[b] + c * im[b];
        [re[b], im[b], re[a], im[a]] = [re[a] - x, im[a] - y, re[a] + x, im[a] + y];
      }
    }
  }
  return Array.from({ length: BINS }, (_, k) => re[k] ** 2 + im[k] ** 2);
}

async function draw(audio) {
  const bytes = await (await fetch(audio.currentSrc || (audio.querySelector("source") || audio).src)).arrayBuffer();
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes);
  const samples = sound.getChannelData(0), hop = Math.max(HOP, Math.ceil(samples.length / 800));
  const frames = [];
  for (let start = 0; start < samples.length; start += hop) frames.push(powers(samples, start));
  const top = frames.reduce((most, frame) => Math.max(most, ...frame), 1e-12);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [frames.length, BINS];
  const pixels = new ImageData(frames.length, BINS);
  frames.forEach((frame, x) => frame.forEach((power, k) => {
    const level = Math.min(1, Math.max(0, 1 + (10 * Math.log10(power / top + 1e-12)) / RANGE_DB)) * (MAGMA.length - 1);
    const [low, part] = [Math.min(MAGMA.length - 2, Math.floor(level)), level - Math.min(MAGMA.length - 2, Math.floor(level))];
    const colour = MAGMA[low].map((value, c) => value + part * (MAGMA[low + 1][c] - value));
    pixels.data.set([...colour, 255], 4 * ((BINS - 1 - k) * frames.length + x));
  }));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Spectrogram, 0 to 2 kHz, ${sound.duration.toFixed(1)} s`);
  const box = document.createElement("div"), cursor = document.createElement("i");
  box.className = "sound-picture";
  box.append(canvas, cursor);
  audio.before(box);
  const show = () => {
    cursor.style.left = `${(100 * audio.currentTime) / sound.duration}%`;
    if (!audio.paused) requestAnimationFrame(show);
  };
  audio.preload = "metadata"; // before that there is nowhere to go to
  ["play", "seeked", "pause"].forEach((event) => audio.addEventListener(event, show));
  box.addEventListener("click", (event) => {
    audio.currentTime = (event.offsetX / box.clientWidth) * sound.duration;
    show();
  });
}

const seen = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
  seen.unobserve(entry.target);
  draw(entry.target);
}), { rootMargin: "400px" });

// ---- The search quotes the sections in which the words stand, and leads to them.
function excerpt(text, words) {
  const start = Math.max(0, text.toLowerCase().indexOf(words[0]) - 80);
  const quoted = document.createElement("p");
  quoted.className = "context";
  const parts = `${start ? "…" : ""}${text.slice(start, start + 240)}…`.split(new RegExp(`(${words.map(escaped).join("|")})`, "i"));
  parts.forEach((part) => {
    const known = words.includes(part.toLowerCase());
    quoted.append(known ? Object.assign(document.createElement("mark"), { textContent: part }) : part);
  });
  return quoted;
}
const escaped = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

function quote(item, words) {
  const link = item.querySelector("a"), page = link && new URL(link.href).pathname.split("/").slice(-(link.href.includes("/papers/") ? 2 : 1)).join("/");
  const found = (window.PAGES[page] || []).filter((s) => words.every((word) => `${s[1]} ${s[2]}`.toLowerCase().includes(word)));
  item.dataset.quoted = "yes";
  found.slice(0, 2).forEach(([id, title, text]) => {
    const place = Object.assign(document.createElement("a"), { href: `${link.href.split("#")[0].split("?")[0]}#${id}`, textContent: title });
    item.append(place, excerpt(text, words));
  });
}

function searching() {
  const list = document.querySelector("#search-results"), asked = new URLSearchParams(location.search).get("q") || "";
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  if (!list || !words.length) return;
  const texts = Object.assign(document.createElement("script"), { src: "_static/pages.js" });
  const all = () => list.querySelectorAll("ul.search > li:not([data-quoted])").forEach((item) => quote(item, words));
  texts.addEventListener("load", () => { all(); new MutationObserver(all).observe(list, { childList: true, subtree: true }); });
  document.head.append(texts);
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("audio").forEach((audio) => seen.observe(audio));
  document.querySelectorAll(".cell_output .text_html, .table-wrapper, pre").forEach((box) => { box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1; });
  searching();
});
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
