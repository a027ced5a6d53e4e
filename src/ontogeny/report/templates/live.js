"use strict";
// A page of a run that goes on: it reloads itself, and comes back to the same place.
(() => {
  function keepPlace() {
    const key = "ontogeny-scroll " + location.pathname;
    try {
      const kept = sessionStorage.getItem(key);
      if (kept !== null) { sessionStorage.removeItem(key); scrollTo(0, Number(kept)); }
      addEventListener("pagehide", () => sessionStorage.setItem(key, String(scrollY)));
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

  if (!pageData.reloadSeconds) return;
  history.scrollRestoration = "manual";
  window.ontogenyReady.then(keepPlace);
  reloadWhileRunning();
})();
