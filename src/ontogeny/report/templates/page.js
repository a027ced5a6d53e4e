"use strict";
// Theme, charts, and navigation that leaves the address to reader.js.
const pageData = JSON.parse(document.getElementById("page-data").textContent);

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("ontogeny-theme", root.dataset.theme); } catch { /* no storage: the choice lasts until the page is closed */ }
});

document.querySelectorAll(".links a").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector(link.getAttribute("href")).scrollIntoView();
}));

function drawCharts() {
  const options = { renderer: "svg", actions: false, ast: true, defaultStyle: false, config: pageData.chartConfig, tooltip: { disableDefaultStyle: true } };
  return Promise.all(Object.entries(pageData.charts).map(async ([id, spec]) =>
    [id, await window.vegaEmbed(document.getElementById(id), spec, options)]));
}

// On paper a chart is as wide as its column (A4, two columns), so that its text keeps its size.
function fitToPaper(drawn) {
  const widthOf = (place) => place.closest("figure.wide") && !place.closest(".panels").children[1] ? 660 : 315;
  addEventListener("beforeprint", () => drawn.forEach(([id, chart]) => chart.view.width(widthOf(document.getElementById(id))).run()));
  addEventListener("afterprint", () => dispatchEvent(new Event("resize")));
}

window.ontogenyReady = drawCharts().then(fitToPaper);
