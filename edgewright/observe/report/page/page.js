"use strict";
// Draws the plots. Texts of boards and models go to ECharts as values that it draws in SVG: its
// tooltips are of rich text, so no text ever becomes markup.
const report = JSON.parse(document.getElementById("document").textContent);
const charts = new Map(); // id → { chart, option }: an option anew for each colour scheme

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const palette = () => ["best", "chosen", "rival", "other"].map(colour);
const number = (value, digits = 2) => value.toLocaleString("en", { maximumFractionDigits: digits });

function common() {
  return {
    animation: false,
    aria: { enabled: true },
    color: palette(),
    textStyle: { color: colour("soft"), fontFamily: "system-ui, sans-serif" },
    tooltip: {
      renderMode: "richText", confine: true, backgroundColor: colour("card"), borderColor: colour("line"),
      textStyle: { color: colour("ink"), fontSize: 12 },
    },
  };
}

function axis(name, type = "value") {
  const line = { lineStyle: { color: colour("line") } };
  return {
    type, name, nameLocation: "middle", nameGap: 28, scale: true, axisLine: line, splitLine: line,
    axisTick: { show: false }, axisLabel: { color: colour("soft"), hideOverlap: true },
    nameTextStyle: { color: colour("soft") },
  };
}

function plot(x, y, series, extra = {}) {
  const zoom = { xAxisIndex: 0, filterMode: "none" };
  return {
    ...common(),
    grid: { left: 56, right: 18, top: 34, bottom: 92 },
    legend: { top: 0, type: "scroll", textStyle: { color: colour("ink") }, pageTextStyle: { color: colour("ink") } },
    xAxis: axis(x),
    yAxis: { ...axis(y), nameGap: 42 },
    dataZoom: [{ ...zoom, type: "inside" }, { ...zoom, type: "slider", height: 22, bottom: 8,
      borderColor: colour("line"), textStyle: { color: colour("soft") } }],
    series,
    ...extra,
  };
}

function draw(id, option) {
  const element = document.getElementById(id);
  if (!element) return;
  element.hidden = false;
  const chart = echarts.init(element, null, { renderer: "svg" });
  charts.set(id, { chart, option });
  chart.setOption(option());
  new ResizeObserver(() => chart.resize()).observe(element);
}

// What is in the program and in the network

function node(part, id) {
  const children = part.parts.map((inner, index) => node(inner, `${id}/${index}`));
  return { id, name: part.name, value: part.bytes, ...(children.length ? { children } : {}) };
}

function treemap(files) {
  const roots = files.map((file, index) => ({ ...node(file, String(index)), name: file.path }));
  const edge = { borderColor: colour("card"), borderWidth: 1, gapWidth: 1 };
  const title = { show: true, height: 20, color: colour("ink"), fontSize: 12,
    formatter: (at) => `${at.name}  ${number(at.value)}` };
  return {
    ...common(),
    tooltip: { ...common().tooltip, formatter: (at) => `${at.name}\n${number(at.value)} bytes` },
    series: [{
      type: "treemap", id: "map", name: "all", left: 0, right: 0, top: 0, bottom: 34, roam: false,
      leafDepth: 2, nodeClick: "zoomToNode", drillDownIcon: "", visibleMin: 200,
      data: roots.length === 1 ? roots[0].children : roots,
      label: { color: "#fff", textBorderColor: "#0008", textBorderWidth: 2, fontSize: 11,
        lineHeight: 14, formatter: (at) => `${at.name}\n${number(at.value)}` },
      upperLabel: title,
      itemStyle: edge,
      // A colour for each component, which its parts share.
      levels: [
        { itemStyle: { ...edge, gapWidth: 3 }, upperLabel: { show: false },
          color: ["best", "rival", "chosen", "other"].map(colour), colorMappingBy: "index" },
        { itemStyle: { ...edge, borderColor: colour("line") }, colorAlpha: [0.55, 1] },
      ],
      breadcrumb: { height: 24, bottom: 4, itemStyle: { color: colour("line"), textStyle: { color: colour("ink") } },
        emphasis: { itemStyle: { color: colour("fill") } } },
    }],
  };
}

const MAPS = { treemap: report.programs, network: report.network ? [report.network] : [] };

function lookInto(map, id) {
  charts.get(map).chart.dispatchAction({ type: "treemapRootToNode", seriesId: "map", targetNodeId: id });
}

// Latency

const groups = () => {
  const own = new Map();
  for (const process of report.bench.processes) {
    own.set(process.label, [...(own.get(process.label) ?? []), process]);
  }
  const named = [...own].map(([label, processes]) => ({ name: label, processes }));
  const other = report.bench.comparison;
  return other ? [...named, { name: other.against, processes: other.processes }] : named;
};
const times = (group) => group.processes.flatMap((process) => process.inference_ms);

function histogram() {
  const samples = groups().map((group) => ({ name: group.name, values: times(group) }));
  const every = samples.flatMap((sample) => sample.values);
  const low = every.reduce((least, ms) => Math.min(least, ms), Infinity);
  const high = every.reduce((most, ms) => Math.max(most, ms), -Infinity);
  const bins = Math.max(1, Math.min(60, Math.ceil(2 * Math.cbrt(every.length))));
  const width = (high - low) / bins || 1;
  const series = samples.map((sample) => {
    const counts = Array(bins).fill(0);
    for (const ms of sample.values) counts[Math.min(bins - 1, Math.floor((ms - low) / width))] += 1;
    return { type: "bar", name: sample.name, barGap: "-100%", barCategoryGap: "4%", itemStyle: { opacity: 0.7 },
      data: counts.map((count, index) => [low + (index + 0.5) * width, count]) };
  });
  return plot("ms", "inferences", series, { yAxis: { ...axis("inferences"), nameGap: 42, scale: false },
    tooltip: { ...common().tooltip, trigger: "axis", formatter: (at) => [
      `${number(at[0].value[0] - width / 2)} to ${number(at[0].value[0] + width / 2)} ms`,
      ...at.map((one) => `${one.seriesName}: ${one.value[1]}`)].join("\n") } });
}

function runs() {
  const series = groups().map((group) => ({ type: "scatter", name: group.name, symbolSize: 4, data: [] }));
  groups().forEach((group, index) => {
    times(group).forEach((ms, place) => series[index].data.push([place + 1, ms]));
  });
  return plot("inference", "ms", series, { tooltip: { ...common().tooltip,
    formatter: (at) => `${at.seriesName} ${at.value[0]}: ${number(at.value[1])} ms` } });
}

// Over time

const readings = () => (report.bench?.processes ?? [])
  .flatMap((process) => [process.start, ...process.meanwhile, process.end]);

function line(unit, digits, name, points) {
  return { type: "line", name, data: points, showSymbol: points.length < 60, symbolSize: 5,
    tooltip: { valueFormatter: (value) => `${number(value, digits)} ${unit}` } };
}

function overTime(unit, series) {
  return plot("s", unit, series, { tooltip: { ...common().tooltip, trigger: "axis" } });
}

function sensors() {
  const points = new Map();
  for (const at of readings()) {
    for (const { sensor, watts } of at.power) points.set(sensor, [...(points.get(sensor) ?? []), [at.at_s, watts]]);
  }
  return [...points];
}

function drawOverTime() {
  const of = (field) => readings().filter((at) => at[field] !== null).map((at) => [at.at_s, at[field]]);
  const plots = {
    temperature: ["°C", of("temperature_c").length, () => [line("°C", 1, "hottest zone", of("temperature_c"))]],
    clock: ["MHz", of("mhz").length, () => [line("MHz", 0, "slowest core", of("mhz"))]],
    power: ["W", sensors().length, () => sensors().map(([name, points]) => line("W", 2, name, points))],
  };
  for (const [id, [unit, count, series]] of Object.entries(plots)) {
    if (!count) continue;
    document.getElementById(`${id}-none`).hidden = true;
    draw(id, () => overTime(unit, series()));
  }
}

// By keyboard

function zoom(chart, key) {
  const { start, end } = chart.getOption().dataZoom[0];
  const width = end - start, middle = (start + end) / 2;
  const wide = { "+": width / 2, "=": width / 2, "-": width * 2, "−": width * 2, 0: 100 }[key] ?? width;
  const step = { ArrowLeft: -width / 4, ArrowRight: width / 4 }[key] ?? 0;
  const size = Math.min(100, Math.max(1, wide));
  const from = Math.min(100 - size, Math.max(0, middle + step - size / 2));
  chart.dispatchAction({ type: "dataZoom", start: from, end: from + size });
}

const ZOOM = new Set(["+", "=", "-", "−", "0", "ArrowLeft", "ArrowRight"]);
document.addEventListener("keydown", (event) => {
  const { chart } = charts.get(event.target.id) ?? {};
  if (!chart || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.id in MAPS) {
    if (event.key !== "Escape") return;
    chart.setOption(treemap(MAPS[event.target.id]), true);
  } else if (ZOOM.has(event.key)) {
    zoom(chart, event.key);
  } else {
    return;
  }
  event.preventDefault();
});

for (const button of document.querySelectorAll("[data-node]")) {
  button.addEventListener("click", () => {
    lookInto(button.dataset.map, button.dataset.node);
    document.getElementById(button.dataset.map).focus();
  });
}

for (const [id, files] of Object.entries(MAPS)) {
  if (files.length) draw(id, () => treemap(files));
}
if (report.bench) {
  draw("histogram", histogram);
  draw("runs", runs);
}
drawOverTime();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { chart, option } of charts.values()) chart.setOption(option(), true);
});
