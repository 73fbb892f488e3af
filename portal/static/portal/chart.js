// Draws each canvas[data-chart="ID"] from the table of that id: a label and one number for each series in a row.
// Needs Chart.js, which the admin brings. Colours are the stylesheet's, and follow light and dark.
"use strict";

const FONT = "Inter, system-ui, sans-serif";
const COLOURS = ["--chart-1", "--chart-2", "--chart-3"];

function numbers(table) {
  const series = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  return {
    labels: rows.map((row) => row[0]),
    datasets: series.map((label, at) => ({ label, data: rows.map((row) => Number(row[at + 1].replaceAll(",", ""))) })),
  };
}

function colour(name) {
  // Canvas does not know light-dark(): let the browser work it out.
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function options() {
  const grid = { color: colour("--line") };
  const ticks = { color: colour("--subtle"), font: { family: FONT }, maxRotation: 0, autoSkipPadding: 16 };
  return {
    animation: false,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    plugins: { legend: { align: "end", labels: { color: colour("--text"), boxWidth: 10, boxHeight: 10, font: { family: FONT } } } },
    scales: {
      x: { stacked: true, grid: { display: false }, border: grid, ticks },
      y: { stacked: true, beginAtZero: true, grid, border: { display: false }, ticks: { ...ticks, precision: 0 } },
    },
  };
}

function draw(canvas) {
  const data = numbers(document.getElementById(canvas.dataset.chart));
  data.datasets.forEach((dataset, at) => {
    dataset.backgroundColor = colour(COLOURS[at % COLOURS.length]);
    dataset.borderRadius = 2;
  });
  return new Chart(canvas, { type: "bar", data, options: options() });
}

let charts = [];
function drawAll() {
  charts.forEach((chart) => chart.destroy());
  charts = [...document.querySelectorAll("canvas[data-chart]")].map(draw);
}
// Canvas does not wait for fonts.
document.fonts.load("12px Inter").then(drawAll, drawAll);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
