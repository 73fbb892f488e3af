// The dashboard's chart: calls stacked by status class, and their duration as lines. Refused and failed calls are also
// hatched and the lines differ in their dashes, so that nothing depends on colour alone.
"use strict";

const CLASSES = ["--chart-ok", "--chart-redirected", "--chart-client-errors", "--chart-server-errors"];

function hatched(colour, angle) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const drawing = tile.getContext("2d");
  drawing.fillStyle = colour;
  drawing.fillRect(0, 0, 8, 8);
  drawing.strokeStyle = tokenColour("--chart-hatch");
  drawing.lineWidth = 2;
  drawing.beginPath();
  for (const offset of [-8, 0, 8]) {
    if (angle !== "down") { drawing.moveTo(offset, 8); drawing.lineTo(offset + 8, 0); }
    if (angle !== "up") { drawing.moveTo(offset, 0); drawing.lineTo(offset + 8, 8); }
  }
  drawing.stroke();
  return drawing.createPattern(tile, "repeat");
}

function draw(canvas, data) {
  const classes = CLASSES.map(tokenColour);
  const text = tokenColour("--text");
  const grid = tokenColour("--line");
  const patterns = [null, null, "up", "both"];
  const bars = data.classes.map((each, number) => ({
    type: "bar", label: each.name, data: each.calls, stack: "calls", order: 2, borderWidth: 0,
    backgroundColor: patterns[number] ? hatched(classes[number], patterns[number]) : classes[number],
  }));
  const line = (label, values, colour, dash) => ({
    type: "line", label, data: values, yAxisID: "time", order: 1, borderColor: colour, backgroundColor: colour,
    borderWidth: 2, borderDash: dash, pointRadius: 2, tension: 0, spanGaps: false,
  });
  const axis = (title, position, more) => ({
    position, beginAtZero: true, title: { display: true, text: title, color: text },
    ticks: { color: text, precision: 0 }, grid: { color: grid }, border: { display: false }, ...more,
  });
  return new Chart(canvas, {
    data: {
      labels: data.labels,
      datasets: [...bars, line("Median", data.median, tokenColour("--chart-median"), []), line("p95", data.p95, tokenColour("--chart-slow"), [5, 4])],
    },
    options: {
      animation: false, responsive: true, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
      plugins: { legend: { position: "bottom", labels: { color: text, boxWidth: 14 } } },
      scales: {
        x: { stacked: true, ticks: { color: text, maxRotation: 0, autoSkipPadding: 12 }, grid: { display: false } },
        y: axis("Calls", "left", { stacked: true }),
        time: axis("Milliseconds", "right", { grid: { display: false } }),
      },
    },
  });
}

const canvas = document.getElementById("chart");
if (canvas && window.Chart) {
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  let chart = draw(canvas, data);
  onThemeChange(() => {
    chart.destroy();
    chart = draw(canvas, data);
  });
}
