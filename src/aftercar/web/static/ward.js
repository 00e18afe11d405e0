// What a page cannot do alone: look again, go with the clock, the size of figures, from a band to its reasons, what is folded on paper, and the sum of ICE. All else works without it.
"use strict";

const again = document.querySelector("[data-again]");
if (again) setTimeout(() => location.reload(), 1000 * again.dataset.again);

// A form that stands open shows the time now until somebody sets another, or what is seen at two would be charted at ten.
const loaded = Date.now();
document.querySelectorAll("[data-now]").forEach((input) => {
  const now = () => new Date(Date.parse(`${input.dataset.now}Z`) + Date.now() - loaded).toISOString().slice(0, 16);
  let follows = input.value === now();
  input.addEventListener("input", () => (follows = false));
  setInterval(() => {
    input.max = now();
    if (follows) input.value = now();
  }, 5000);
});

document.querySelectorAll("[data-zoom]").forEach((button) =>
  button.addEventListener("click", () => {
    const svg = button.closest("figure").querySelector("svg");
    const now = Number(svg.dataset.size || 1);
    const size = Math.min(8, Math.max(1, button.dataset.zoom > 0 ? now * 1.5 : now / 1.5));
    svg.dataset.size = size;
    svg.style.width = `${100 * size}%`;
  })
);

function open(id) {
  const why = document.getElementById(id);
  if (!why) return;
  why.open = true;
  why.querySelector("summary").focus();
  why.scrollIntoView({ block: "center" });
}
document.addEventListener("click", (event) => {
  const band = event.target.closest("[data-band]");
  if (band) open(band.dataset.band);
});
if (location.hash.startsWith("#g-")) open(location.hash.slice(1));

// What is folded stands open on paper; where a browser knows no ::details-content it is opened for it.
const folded = [];
window.addEventListener("beforeprint", () => {
  folded.push(...document.querySelectorAll("details:not([open])"));
  folded.forEach((details) => (details.open = true));
});
window.addEventListener("afterprint", () => folded.splice(0).forEach((details) => (details.open = false)));

document.querySelectorAll("[data-ice]").forEach((form) => {
  const total = form.querySelector("[data-total]");
  if (!total) return;
  const names = new Set([...form.querySelectorAll("input[type=radio]")].map((input) => input.name));
  const sum = () => {
    const ticked = [...form.querySelectorAll("input[type=radio]:checked")];
    const found = ticked.reduce((all, input) => all + Number(input.value), 0);
    total.textContent = ticked.length === names.size ? String(found) : ticked.length ? `${found} so far` : "–";
  };
  form.addEventListener("change", sum);
  sum();
});
