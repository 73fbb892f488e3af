// Draws each canvas[data-chart="ID"] from the table with that id: each row has a label and one number for each series.
// The head of a column names the token of its colour: data-colour="--chart-ok". Needs colours.js and Unfold's Chart.js.
"use strict";

function numbers(table) {
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
  const series = [...table.tHead.rows[0].cells].slice(1);
  return {
    labels: rows.map((row) => row[0]),
    datasets: series.map((head, at) => ({
      label: head.textContent.trim(),
      data: rows.map((row) => Number(row[at + 1].replace(/\D/g, ""))),
      backgroundColor: tokenColour(head.dataset.colour),
      borderRadius: 2,
    })),
  };
}

function options() {
  const font = { family: getComputedStyle(document.body).fontFamily };
  const grid = { color: tokenColour("--line") };
  const ticks = { color: tokenColour("--subtle"), font, maxRotation: 0, autoSkipPadding: 16 };
  return {
    animation: false,
    maintainAspectRatio: false,
    interaction: { mode: "index", intersect: false },
    plugins: { legend: { align: "end", labels: { color: tokenColour("--text"), boxWidth: 10, boxHeight: 10, font } } },
    scales: {
      x: { stacked: true, grid: { display: false }, border: grid, ticks },
      y: { stacked: true, beginAtZero: true, grid, border: { display: false }, ticks: { ...ticks, precision: 0 } },
    },
  };
}

function draw(canvas) {
  return new Chart(canvas, {
    type: "bar", data: numbers(document.getElementById(canvas.dataset.chart)), options: options(),
  });
}

let charts = [];
function drawAll() {
  charts.forEach((chart) => chart.destroy());
  charts = [...document.querySelectorAll("canvas[data-chart]")].map(draw);
}
// Canvas does not wait for fonts.
document.fonts.load("12px Inter").then(drawAll, drawAll);
onThemeChange(drawAll);
