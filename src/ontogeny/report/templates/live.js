"use strict";
// The page of a run in progress: it reloads itself and returns to the same place.
(() => {
  function keepPlace() {
    const key = "ontogeny-scroll " + location.pathname;
    try {
      const kept = sessionStorage.getItem(key);
      if (kept !== null) { sessionStorage.removeItem(key); scrollTo(0, Number(kept)); }
      addEventListener("pagehide", () => sessionStorage.setItem(key, String(scrollY)));
    } catch { /* no storage: the browser's own scroll restoration has to do */ }
  }

  function reloadWhileRunning() {
    const pause = document.getElementById("pause");
    let paused = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.textContent = paused ? "Resume" : "Pause";
      pause.setAttribute("aria-pressed", String(paused));
    });
    setInterval(() => { if (!paused && !document.hidden) location.reload(); }, 1000 * pageData.reloadSeconds);
  }

  if (!pageData.reloadSeconds) return;
  history.scrollRestoration = "manual";
  window.ontogenyReady.then(keepPlace);
  reloadWhileRunning();
})();
