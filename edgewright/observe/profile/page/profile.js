"use strict";
// Draws the calls as bars, each below its caller. Names go into the page as text alone.
const report = JSON.parse(document.getElementById("document").textContent);
const flame = document.getElementById("flame");
const told = document.getElementById("told");
const find = document.getElementById("find");
const ROW = 20; // px
const LEAST = 1.5; // px: what is narrower is not drawn, until somebody looks into its caller

const GROUPS = [
  ["edge", /^edge::|^main$/],
  ["kernel", /^edgewright::/],
  ["runtime", /onnxruntime|^Ort|^Mlas|^onnx/],
];
const groupOf = (name) => (GROUPS.find(([, pattern]) => pattern.test(name)) ?? ["other"])[0];
const percent = (samples) => `${((100 * samples) / report.samples).toFixed(1)} %`;

function grow(stacks) {
  const root = { name: "all", samples: 0, depth: 0, parent: null, inner: new Map() };
  for (const { frames, samples } of stacks) {
    let node = root;
    node.samples += samples;
    for (const name of frames) {
      if (!node.inner.has(name)) {
        node.inner.set(name, { name, samples: 0, depth: node.depth + 1, parent: node, inner: new Map() });
      }
      node = node.inner.get(name);
      node.samples += samples;
    }
  }
  return root;
}

const root = grow(report.stacks);
const bars = new Map(); // node → its button
let focus = root; // the node that is as wide as the graph
let pattern = "";

const children = (node) => [...node.inner.values()].sort((a, b) => b.samples - a.samples);
const matches = (node) => pattern !== "" && node.name.toLowerCase().includes(pattern);

function bar(node, left, width) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = node.name;
  button.className = groupOf(node.name);
  button.classList.toggle("match", matches(node));
  button.classList.toggle("above", node.depth < focus.depth);
  button.tabIndex = node === focus ? 0 : -1;
  button.style.left = `${100 * left}%`;
  button.style.width = `${100 * width}%`;
  button.style.top = `${node.depth * ROW}px`;
  button.setAttribute("aria-label", `${node.name}, ${percent(node.samples)}`);
  button.addEventListener("click", () => lookInto(node));
  button.addEventListener("mouseenter", () => tell(node));
  button.addEventListener("focus", () => tell(node));
  bars.set(node, button);
  return button;
}

function draw() {
  const drawn = document.createDocumentFragment();
  let depth = 0;
  bars.clear();
  for (let node = focus.parent; node; node = node.parent) drawn.append(bar(node, 0, 1));
  const least = LEAST / Math.max(flame.clientWidth, 1);
  const place = (node, left, width) => {
    if (width < least) return;
    drawn.append(bar(node, left, width));
    depth = Math.max(depth, node.depth);
    for (const inner of children(node)) {
      const share = (width * inner.samples) / node.samples;
      place(inner, left, share);
      left += share;
    }
  };
  place(focus, 0, 1);
  flame.replaceChildren(drawn);
  flame.style.height = `${(depth + 1) * ROW}px`;
}

function tell(node) {
  told.textContent = `${node.name}: ${node.samples.toLocaleString("en")} samples, ${percent(node.samples)}`;
}

function lookInto(node) {
  focus = node;
  draw();
  bars.get(node).focus();
}

// The next bar that is drawn on the same row, in the order of the page.
function beside(node, step) {
  const row = [...bars.keys()].filter((each) => each.depth === node.depth)
    .sort((a, b) => parseFloat(bars.get(a).style.left) - parseFloat(bars.get(b).style.left));
  return row[row.indexOf(node) + step];
}

const MOVES = {
  ArrowUp: (node) => node.parent,
  ArrowDown: (node) => children(node).find((inner) => bars.has(inner)),
  ArrowLeft: (node) => beside(node, -1),
  ArrowRight: (node) => beside(node, 1),
};

flame.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const node = [...bars].find(([, button]) => button === event.target)?.[0];
  if (event.key === "Escape") {
    lookInto(focus.parent ?? root);
  } else if (node && event.key in MOVES) {
    bars.get(MOVES[event.key](node))?.focus();
  } else {
    return;
  }
  event.preventDefault();
});

// Samples with a function of that name, each once.
function matched(node) {
  return matches(node) ? node.samples : children(node).reduce((sum, inner) => sum + matched(inner), 0);
}

find.addEventListener("input", () => {
  pattern = find.value.trim().toLowerCase();
  for (const [node, button] of bars) button.classList.toggle("match", matches(node));
  document.getElementById("matches").textContent = pattern ? `in ${percent(matched(root))} of the samples` : "";
});

new ResizeObserver(() => {
  const held = flame.contains(document.activeElement);
  draw();
  if (held) bars.get(focus).focus();
}).observe(document.querySelector("figure"));
draw();
