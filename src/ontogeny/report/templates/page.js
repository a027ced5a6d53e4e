"use strict";
// Small things: theme, navigation that leaves the address alone, charts, and the reload of a live page.
const pageData = JSON.parse(document.getElementById("page-data").textContent);

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("ontogeny-theme", root.dataset.theme); } catch { /* no storage: the choice lasts as long as the page */ }
});

document.querySelectorAll(".links a").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector(link.getAttribute("href")).scrollIntoView();
}));

function drawCharts() {
  const options = { renderer: "svg", actions: false, config: pageData.chartConfig, tooltip: { disableDefaultStyle: false } };
  return Promise.all(Object.entries(pageData.charts).map(([id, spec]) => window.vegaEmbed(document.getElementById(id), spec, options)));
}

function keepPlace() {
  const key = "ontogeny-scroll " + location.pathname;
  try {
    const kept = sessionStorage.getItem(key);
    if (kept !== null) { sessionStorage.removeItem(key); scrollTo(0, Number(kept)); }
    if (pageData.reloadSeconds) addEventListener("pagehide", () => sessionStorage.setItem(key, String(scrollY)));
  } catch { /* no storage: the browser's own memory of the place has to do */ }
}

function reloadWhileRunning() {
  const pause = document.getElementById("pause");
  let paused = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
  });
  setInterval(() => { if (!paused && !document.hidden) location.reload(); }, 1000 * pageData.reloadSeconds);
}

window.ontogenyReady = drawCharts().then(keepPlace);
if (pageData.reloadSeconds) reloadWhileRunning();
