"use strict";
// Choosing a drug marks what it lowers and cuts, dims what is reached no more, and shows its text; everything is worked out beforehand.
const cuts = JSON.parse(document.getElementById("cuts").textContent);
const figure = document.getElementById("mechanism");
const panel = document.getElementById("panel");
const told = document.getElementById("told");
const buttons = [...document.querySelectorAll("button[data-drug]")];
const nodes = [...figure.querySelectorAll(".node")];
const edges = [...figure.querySelectorAll(".edge")];
const tags = [...figure.querySelectorAll(".tag")];
let chosen = "";

function mark(drug) {
  const cut = cuts[drug] || { lowered: [], edges: [], silenced: [], told: "" };
  figure.classList.toggle("on", Boolean(drug));
  for (const node of nodes) {
    node.classList.toggle("low", cut.lowered.includes(node.dataset.node));
    node.classList.toggle("dim", cut.silenced.includes(node.dataset.node));
  }
  for (const edge of edges) {
    edge.classList.toggle("cut", cut.edges.includes(edge.dataset.edge));
    edge.classList.toggle("dim", cut.silenced.includes(edge.dataset.from));
  }
  for (const tag of tags) tag.classList.toggle("act", tag.dataset.drug === drug);
}

function choose(drug) {
  chosen = drug === chosen ? "" : drug;
  mark(chosen);
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.drug === chosen));
  panel.replaceChildren();
  if (chosen) {
    const text = document.getElementById("drug-" + chosen).cloneNode(true);
    text.removeAttribute("id");
    panel.append(text);
  }
  told.textContent = chosen ? cuts[chosen].told : "No drug is chosen.";
  history.replaceState(null, "", chosen ? "#" + chosen : location.pathname + location.search);
}

for (const one of [...buttons, ...tags]) {
  one.addEventListener("click", () => choose(one.dataset.drug));
  one.addEventListener("mouseenter", () => mark(one.dataset.drug));
  one.addEventListener("mouseleave", () => mark(chosen));
}
buttons.forEach((button, n) => {
  button.addEventListener("focus", () => mark(button.dataset.drug));
  button.addEventListener("blur", () => mark(chosen));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      buttons[(n + step + buttons.length) % buttons.length].focus();
    }
  });
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen) choose(chosen);
});

// Resting on a node, or coming to it with the keyboard, shows the edges that end there.
function near(name) {
  for (const edge of edges) {
    const ends = name && (edge.dataset.from === name || edge.dataset.to === name);
    edge.classList.toggle("near", Boolean(ends));
    edge.classList.toggle("back", Boolean(name) && !ends);
  }
}
nodes.forEach((node, n) => {
  node.setAttribute("tabindex", n ? "-1" : "0");
  node.addEventListener("mouseenter", () => near(node.dataset.node));
  node.addEventListener("mouseleave", () => near(""));
  node.addEventListener("focus", () => near(node.dataset.node));
  node.addEventListener("blur", () => near(""));
  node.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = nodes[(n + step + nodes.length) % nodes.length];
    node.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
});

document.querySelector(".drugs").hidden = false;
const asked = decodeURIComponent(location.hash.slice(1));
if (asked in cuts) choose(asked);
