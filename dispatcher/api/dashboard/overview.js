// The section that says how it goes: figures and charts.

import { Chart } from "./chart.js";
import { byId, h, setText } from "./dom.js";
import { bytes, count, duration, rate } from "./format.js";

const FIGURES = [
  ["Accepted", "a second", (stats, last) => rate(last.accepted)],
  ["Delivered", "a second", (stats, last) => rate(last.delivered)],
  ["Dead", "a second", (stats, last) => rate(last.dead)],
  ["Latency", "median", (stats, last) => duration(last.median)],
  ["Latency", "p95", (stats, last) => duration(last.p95)],
  ["Backlog", "messages", (stats) => count(stats.ready + stats.scheduled + stats.in_flight)],
  ["Dead letters", "kept", (stats) => count(stats.dead)],
  ["Log", "on disk", (stats) => bytes(stats.log_bytes)],
];

const perSecond = (value) => (value === null || value === undefined ? "–" : `${rate(value)}/s`);
const number = (value) => (value === null || value === undefined ? "–" : rate(value));

/** Fill the section, and keep it up to date. */
export function overview(poll) {
  const values = FIGURES.map(() => h("span", { class: "big" }, "–"));
  byId("figures").append(
    ...FIGURES.map(([name, unit], at) =>
      h("div", { class: "card" }, h("dt", {}, name), h("dd", {}, values[at], h("small", {}, unit))),
    ),
  );
  const charts = [
    new Chart(
      "Messages a second",
      [
        { field: "accepted", name: "accepted", style: "second" },
        { field: "delivered", name: "delivered", style: "first" },
        { field: "dead", name: "dead", style: "bad" },
      ],
      perSecond,
      1,
    ),
    new Chart(
      "Latency, from acceptance to delivery",
      [
        { field: "median", name: "median", style: "first" },
        { field: "p95", name: "95th percentile", style: "second" },
      ],
      duration,
      0.001,
    ),
    new Chart(
      "Backlog",
      [
        { field: "ready", name: "ready", style: "first" },
        { field: "scheduled", name: "scheduled", style: "second" },
        { field: "inFlight", name: "in flight", style: "third" },
      ],
      number,
      1,
    ),
  ];
  byId("charts").append(...charts.map((chart) => chart.element));
  poll.listen(({ stats, series }) => {
    const last = series.points.at(-1) ?? {};
    FIGURES.forEach(([, , say], at) => setText(values[at], stats ? say(stats, last) : "–"));
    for (const chart of charts) chart.show(series.points);
  });
  return { show() {} };
}
