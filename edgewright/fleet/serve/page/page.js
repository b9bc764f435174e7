"use strict";
// Others' words are only ever text nodes: the page has no innerHTML, and its policy allows none.

const STATES = ["waiting", "ready", "staged", "running", "done", "went back", "quarantined", "skipped", "excluded"];
const BAR = ["done", "went back", "quarantined", "skipped", "excluded", "running", "staged", "ready", "waiting"];
const ROW = 28; // pixels, as in page.css
const MAP_HEIGHT = 280; // pixels, if the squares can be so small
const BINS = 40;
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

const boards = new Map(); // name → as the server tells of it, in the order of the plan
let status = null; // of the rollout, without boards
let shown = []; // boards that the filters let through
let mapped = []; // the same, site by site
let active = null; // name of the board that is selected
let isOperator = false;
let source = null;
let isDue = false;

function element(name, attributes = {}, ...children) {
  const isSvg = ["svg", "rect", "line", "text", "title"].includes(name);
  const made = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function stateOf(board) {
  if (board.goal === "former" && board.state === "done") return "went back";
  return board.goal === "release" && board.state === "ready" && board.staged ? "staged" : board.state;
}

const classOf = (state) => state.replace(" ", "-");
const swatch = (state) => element("svg", { viewBox: "0 0 8 8", "aria-hidden": "true" },
  element("rect", { width: 8, height: 8, rx: 2, class: classOf(state) }));

function count(some) {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const board of some) counts[stateOf(board)] += 1;
  return counts;
}

function bar(counts) {
  const all = Math.max(Object.values(counts).reduce((a, b) => a + b, 0), 1);
  const svg = element("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img" });
  svg.setAttribute("aria-label", STATES.filter((s) => counts[s]).map((s) => `${counts[s]} ${s}`).join(", "));
  let x = 0;
  for (const state of BAR) {
    const width = counts[state] / all * 100;
    if (width) svg.append(element("rect", { x, y: 0, width, height: 6, class: classOf(state) }));
    x += width;
  }
  return svg;
}

function fillTable(id, headings, rows) {
  const head = element("tr", {}, ...headings.map((text) => element("th", { scope: "col" }, text)));
  byId(id).tHead.replaceChildren(head);
  byId(id).tBodies[0].replaceChildren(...rows.map((cells) =>
    element("tr", {}, ...cells.map((cell) => element("td", {}, cell)))));
}

// The rollout and its waves

function showHead() {
  byId("name").textContent = status.name;
  byId("state").textContent = status.wish !== "run" && status.state === "running"
    ? `${status.state} (${status.wish})` : status.state;
  const time = new Date(status.started).toLocaleString();
  byId("phase").textContent = [status.phase, status.reason, `started ${time}`].filter(Boolean).join(" · ");
  document.title = `${status.name}: ${status.state}`;
  const actions = [];
  if (isOperator && status.state === "running") {
    if (status.phase.endsWith("waits for approval")) actions.push("approve");
    if (status.wish === "run") actions.push("pause");
    if (status.wish === "pause") actions.push("resume");
    if (status.wish !== "abort") actions.push("abort");
  }
  const wanted = actions.join();
  if (byId("actions").dataset.shown === wanted) return; // a button keeps its focus
  byId("actions").dataset.shown = wanted;
  byId("actions").replaceChildren(...actions.map((action) => {
    const button = element("button", { "data-action": action }, action[0].toUpperCase() + action.slice(1));
    button.addEventListener("click", () => ask(action));
    return button;
  }));
}

function showWaves() {
  const waves = status.waves.map(() => []);
  for (const board of boards.values()) waves[board.wave - 1].push(board);
  const words = Object.fromEntries(status.verdicts.map((wave) => [wave.wave, wave]));
  fillTable("waves", ["wave", "boards", "", ...STATES, "gates", "approved"], waves.map((members, index) => {
    const counts = count(members), gates = words[index + 1];
    return [String(index + 1), String(members.length), bar(counts),
      ...STATES.map((state) => counts[state] ? String(counts[state]) : ""),
      gates ? gates.word : "", gates && gates.approved ? gates.approved : ""];
  }));
}

// Gates

const MEASUREMENTS = { // as a share: 0.1 for 10 % more
  p95: (before, after) => before.p95_ms ? after.p95_ms / before.p95_ms - 1 : null,
  memory: (before, after) => before.peak_rss_kb ? after.peak_rss_kb / before.peak_rss_kb - 1 : null,
  leak: (before, after) => after.leak_kb - (before.leak_kb || 0), // no share
  instructions: (before, after) => before.instructions ? after.instructions / before.instructions - 1 : null,
  accuracy: (before, after) => before.right - after.right,
  temperature: (before, after) => after.celsius - before.celsius, // no share
};
const SHADOW_FRAMES = 30; // fewer say nothing (report.py)
function shadowChange({ agreed, differing }) {
  return agreed + differing >= SHADOW_FRAMES ? differing / (agreed + differing) : null;
}
const FIELDS = { p95: "p95_ms", memory: "peak_rss_kb", accuracy: "right", temperature: "celsius",
  leak: "leak_kb", instructions: "instructions" };

function changesOf(gate, wave) {
  const changes = [], field = FIELDS[gate];
  for (const board of boards.values()) {
    const measured = board.wave === wave && board.measured;
    if (gate === "restarts" && measured && measured.restarted !== null) changes.push(measured.restarted);
    if (gate === "shadow" && measured && measured.shadow) {
      const change = shadowChange(measured.shadow);
      if (change !== null) changes.push(change);
    }
    if (gate === "restarts" || gate === "shadow" || !measured || !measured.before || !measured.after) continue;
    if (measured.after[field] === null || (measured.before[field] === null && gate !== "leak")) continue;
    const change = MEASUREMENTS[gate](measured.before, measured.after);
    if (change !== null) changes.push(change);
  }
  return changes;
}

function plot(gate, wave) {
  const [name, text] = gate.gate.split("<="), limit = parseFloat(text) / (text.endsWith("%") ? 100 : 1);
  const changes = MEASUREMENTS[name] || name === "restarts" || name === "shadow" ? changesOf(name, wave) : [];
  if (!changes.length) return null;
  let low = 0, high = limit;
  for (const change of changes) { low = Math.min(low, change); high = Math.max(high, change); }
  const margin = (high - low || 0.01) * 0.05;
  low -= margin; high += margin;
  const bins = new Array(BINS).fill(0), place = (value) => (value - low) / (high - low);
  for (const change of changes) bins[Math.min(Math.floor(place(change) * BINS), BINS - 1)] += 1;
  const most = Math.max(...bins), unit = { temperature: "°C", restarts: "restarts", leak: "KiB" }[name];
  const shown = (value) => unit ? `${value.toFixed(1)} ${unit}` : `${(value * 100).toFixed(1)} %`;
  const svg = element("svg", { viewBox: "0 0 320 92", role: "img" });
  svg.setAttribute("aria-label", `${changes.length} boards by their change, limit ${shown(limit)}`);
  bins.forEach((boardsInBin, bin) => {
    const height = boardsInBin && Math.max(boardsInBin / most * 60, 1.5);
    const isBeyond = low + (bin + 0.5) * (high - low) / BINS > limit;
    if (height) svg.append(element("rect", { x: bin * 8 + 0.5, y: 74 - height, width: 7, height,
      class: isBeyond ? "quarantined" : "done" }));
  });
  const x = place(limit) * 320, isRight = x > 200;
  svg.append(element("line", { x1: 0, x2: 320, y1: 74.5, y2: 74.5, class: "axis" }),
    element("line", { x1: x, x2: x, y1: 4, y2: 74, class: "limit" }),
    element("text", { x: isRight ? x - 4 : x + 4, y: 10, "text-anchor": isRight ? "end" : "start" }, `limit ${shown(limit)}`),
    element("text", { x: 0, y: 88 }, shown(low)),
    element("text", { x: 320, y: 88, "text-anchor": "end" }, shown(high)));
  return svg;
}

function failedPlot(gate, wave) {
  const all = [...boards.values()].filter((board) => board.wave === wave && board.state !== "excluded");
  const [, text] = gate.gate.split("<=");
  const limit = Math.min(text.endsWith("%") ? parseFloat(text) / 100 : parseFloat(text) / (all.length || 1), 1);
  const failed = gate.boards.length / (all.length || 1), x = limit * 320, isRight = x > 200;
  const svg = element("svg", { viewBox: "0 0 320 40", role: "img" });
  svg.setAttribute("aria-label", `${gate.boards.length} of ${all.length} boards failed`);
  svg.append(element("rect", { x: 0, y: 16, width: 320, height: 14, class: "waiting" }),
    element("rect", { x: 0, y: 16, width: failed * 320, height: 14, class: gate.word === "no" ? "quarantined" : "done" }),
    element("line", { x1: x, x2: x, y1: 4, y2: 36, class: "limit" }),
    element("text", { x: isRight ? x - 4 : x + 4, y: 12, "text-anchor": isRight ? "end" : "start" }, `limit ${text}`));
  return svg;
}

let gatesShown = "";
function showGates() {
  const text = JSON.stringify([status.name, status.verdicts]);
  if (text === gatesShown) return;
  gatesShown = text;
  const cards = status.verdicts.flatMap((wave) => wave.gates.map((gate) => {
    const card = element("figure", { class: `gate ${classOf(gate.word)}` },
      element("figcaption", {}, `${wave.shadow ? "Shadow of wave" : "Wave"} ${wave.wave}: ${gate.gate}: `, element("b", {}, gate.word)),
      element("p", {}, gate.found + (gate.p === null ? "" : ` (p = ${gate.p})`)));
    const picture = gate.gate.startsWith("failures") ? failedPlot(gate, wave.wave) : plot(gate, wave.wave);
    if (picture) card.append(picture);
    if (gate.boards.length) {
      const more = gate.boards.length > 10 ? ` and ${gate.boards.length - 10} more` : "";
      card.append(element("p", {}, `Beyond the limit: ${gate.boards.slice(0, 10).join(", ")}${more}`));
    }
    card.append(element("p", { class: "test" }, gate.test));
    return card;
  }));
  byId("gates").replaceChildren(...(cards.length ? cards : [element("p", {}, "No wave has been judged yet.")]));
}

// Boards: sites, map, list

function showFilters() {
  const counts = count(boards.values());
  for (const state of STATES) byId(`count-${classOf(state)}`).textContent = `${state} ${counts[state].toLocaleString()}`;
  const sites = [...new Set([...boards.values()].map((board) => board.site))].sort();
  if (byId("site").options.length !== sites.length + 1) {
    const chosen = byId("site").value;
    byId("site").replaceChildren(element("option", { value: "" }, "all"),
      ...sites.map((site) => element("option", { value: site }, site)));
    byId("site").value = sites.includes(chosen) ? chosen : "";
  }
  const bySite = new Map(sites.map((site) => [site, []]));
  for (const board of boards.values()) bySite.get(board.site).push(board);
  fillTable("sites", ["site", "boards", "", "done", "failed"], sites.map((site) => {
    const siteCounts = count(bySite.get(site)), failed = siteCounts.quarantined + siteCounts.skipped;
    return [site, String(bySite.get(site).length), bar(siteCounts), String(siteCounts.done), failed ? String(failed) : ""];
  }));
}

function filter() {
  const states = new Set([...document.querySelectorAll("#states input:checked")].map((input) => input.value));
  const site = byId("site").value, words = byId("search").value.trim().toLowerCase();
  shown = [...boards.values()].filter((board) => states.has(stateOf(board))
    && (!site || board.site === site) && (!words || board.board.toLowerCase().includes(words)));
  mapped = site ? shown : [...shown].sort((a, b) => a.site < b.site ? -1 : a.site > b.site ? 1 : 0);
  byId("count").textContent = `${shown.length.toLocaleString()} of ${boards.size.toLocaleString()} boards`;
  byId("rows").style.height = `${shown.length * ROW}px`;
}

let grid = { size: 10, columns: 1 };
function showMap() {
  const canvas = byId("map"), width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  const size = Math.max(4, Math.min(18, Math.floor(Math.sqrt(width * MAP_HEIGHT / Math.max(mapped.length, 1)))));
  const columns = Math.max(1, Math.floor(width / size)), rows = Math.ceil(mapped.length / columns);
  grid = { size, columns };
  canvas.style.height = `${rows * size}px`;
  canvas.width = width * scale;
  canvas.height = rows * size * scale;
  const context = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  context.scale(scale, scale);
  for (const state of STATES) {
    context.fillStyle = style.getPropertyValue(`--${classOf(state)}`);
    mapped.forEach((board, index) => {
      if (stateOf(board) === state) {
        context.fillRect(index % columns * size, Math.floor(index / columns) * size, size - 1, size - 1);
      }
    });
  }
  const index = mapped.findIndex((board) => board.board === active);
  if (index >= 0) {
    context.strokeStyle = style.getPropertyValue("--ink");
    context.lineWidth = 2;
    context.strokeRect(index % columns * size, Math.floor(index / columns) * size, size - 1, size - 1);
  }
}

function rowOf(board, index) {
  const state = stateOf(board);
  const row = element("div", { class: "row", role: "option", id: `row-${index}`,
    "aria-setsize": shown.length, "aria-posinset": index + 1, "aria-selected": String(board.board === active) },
    swatch(state), element("bdi", {}, board.board), element("bdi", {}, board.site),
    element("span", {}, state), element("bdi", {}, board.reason));
  row.style.top = `${index * ROW}px`;
  row.dataset.index = index;
  return row;
}

function showRows() {
  const list = byId("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW) + 10);
  byId("rows").replaceChildren(...shown.slice(first, last).map((board, offset) => rowOf(board, first + offset)));
  const index = shown.findIndex((board) => board.board === active);
  if (index >= first && index < last) list.setAttribute("aria-activedescendant", `row-${index}`);
  else list.removeAttribute("aria-activedescendant");
}

function showBoard() {
  const board = boards.get(active);
  if (!board) return byId("board").replaceChildren();
  const measured = board.measured || {}, numbers = (some) => some
    ? [some.p95_ms !== null && `p95 ${some.p95_ms.toFixed(1)} ms`, some.peak_rss_kb !== null && `${some.peak_rss_kb} KiB`,
      some.leak_kb !== null && `${some.leak_kb.toFixed(3)} KiB left an inference`,
      some.instructions !== null && `${some.instructions.toLocaleString("en")} instructions`,
      some.right !== null && `${(some.right * 100).toFixed(1)} % right`,
      some.celsius !== null && `${some.celsius.toFixed(1)} °C`].filter(Boolean).join(", ") : "";
  const facts = { board: board.board, site: board.site, wave: board.wave, joined: board.joined, state: stateOf(board), tries: board.tries,
    release: board.release, former: board.former, reason: board.reason, before: numbers(measured.before), after: numbers(measured.after) };
  return byId("board").replaceChildren(...Object.entries(facts).filter(([, value]) => value !== "" && value !== null)
    .flatMap(([key, value]) => [element("dt", {}, key), element("dd", {}, element("bdi", {}, String(value)))]));
}

function select(index) {
  if (!shown.length) return;
  const place = Math.max(0, Math.min(index, shown.length - 1)), list = byId("list");
  active = shown[place].board;
  if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
  if ((place + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * ROW - list.clientHeight;
  showRows();
  showMap();
  showBoard();
}

function onKey(event) {
  const page = Math.floor(byId("list").clientHeight / ROW), index = shown.findIndex((board) => board.board === active);
  const steps = { ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page, Home: 0, End: shown.length - 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  select(steps[event.key]);
}

function showFiltered() {
  filter();
  showMap();
  showRows();
}

function show() {
  isDue = false;
  if (!status) return;
  showHead();
  showWaves();
  showGates();
  showFilters();
  showFiltered();
  showBoard();
}

function showSoon() {
  if (!isDue) requestAnimationFrame(show);
  isDue = true;
}

// What operators do

const CONSEQUENCES = {
  pause: "No other board is begun; those at work come to their end.",
  resume: "Boards that are ready are begun again.",
  abort: "Final: boards at work come to their end, the others are skipped. What runs the release goes on running it.",
  approve: "The next wave begins. Your name and the reason are kept.",
};

function ask(action) {
  byId("question").textContent = `${action[0].toUpperCase()}${action.slice(1)} ${status.name}?`;
  byId("consequence").textContent = CONSEQUENCES[action];
  byId("reason").value = "";
  byId("reason").required = action === "approve";
  byId("refusal").textContent = "";
  byId("ask").dataset.action = action;
  byId("ask").showModal();
}

async function go(event) {
  event.preventDefault();
  const path = `/v1/rollouts/${encodeURIComponent(status.name)}/${byId("ask").dataset.action}`;
  try {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ reason: byId("reason").value }) });
    if (answer.ok) byId("ask").close();
    else byId("refusal").textContent = (await answer.json()).message;
  } catch {
    byId("refusal").textContent = "the server does not answer";
  }
}

// The line to the server

function open(name) {
  if (source) source.close();
  boards.clear();
  status = null;
  active = null;
  gatesShown = "";
  source = new EventSource(`/v1/live?rollout=${encodeURIComponent(name)}`);
  source.addEventListener("open", () => { byId("line").textContent = "live"; });
  source.addEventListener("error", async () => {
    byId("line").textContent = "no connection, trying again";
    if (source.readyState !== EventSource.CLOSED) return;
    const answer = await fetch("/v1/login").catch(() => null);
    if (answer && answer.status === 401) location.assign("/login");
    else setTimeout(() => open(name), 3000);
  });
  source.addEventListener("rollouts", (event) => showList(JSON.parse(event.data).rollouts, name));
  source.addEventListener("status", (event) => {
    const message = JSON.parse(event.data);
    for (const board of message.boards) boards.set(board.board, board);
    status = { ...message, boards: null };
    showSoon();
  });
}

function showList(rollouts, name) {
  byId("rollouts").replaceChildren(...rollouts.map((rollout) =>
    element("option", { value: rollout.name }, `${rollout.name}: ${rollout.state}`)));
  if (name) byId("rollouts").value = name;
  else if (rollouts.length) open((rollouts.find((rollout) => rollout.state === "running") || rollouts[0]).name);
}

async function begin() {
  for (const state of STATES) {
    const input = element("input", { type: "checkbox", value: state, checked: "" });
    input.addEventListener("change", showFiltered);
    byId("states").append(element("label", {}, input, swatch(state), element("span", { id: `count-${classOf(state)}` }, state)));
  }
  byId("site").addEventListener("change", showFiltered);
  byId("search").addEventListener("input", showFiltered);
  byId("list").addEventListener("scroll", () => requestAnimationFrame(showRows), { passive: true });
  byId("list").addEventListener("keydown", onKey);
  byId("list").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) select(Number(row.dataset.index));
  });
  byId("map").addEventListener("click", (event) => {
    const board = mapped[Math.floor(event.offsetY / grid.size) * grid.columns + Math.floor(event.offsetX / grid.size)];
    if (board) select(shown.indexOf(board));
  });
  byId("rollouts").addEventListener("change", (event) => open(event.target.value));
  byId("ask").querySelector("form").addEventListener("submit", go);
  byId("cancel").addEventListener("click", () => byId("ask").close());
  window.addEventListener("resize", () => requestAnimationFrame(showFiltered));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showMap);
  const login = await (await fetch("/v1/login")).json();
  isOperator = login.role === "operator";
  byId("person").textContent = `${login.name} (${login.role})`;
  open("");
}

begin();
