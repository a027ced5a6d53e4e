"use strict";
// Generated texts: one prompt, several checkpoints side by side.
(() => {
  const box = document.getElementById("sample-table");
  if (!box) return;
  const runs = pageData.samples, byId = (id) => document.getElementById(id);
  const run = byId("sample-run"), prompt = byId("sample-prompt"), columns = byId("sample-columns");
  const MOST = 4;

  const option = (value, text) => { const node = document.createElement("option"); node.value = String(value); node.textContent = text; return node; };
  const element = (tag, text, name) => { const node = document.createElement(tag); node.textContent = text; if (name) node.className = name; return node; };

  function drawColumn(item, steps, at) {
    const node = element("div", "", "column"), select = document.createElement("select"), body = document.createElement("div");
    select.setAttribute("aria-label", "Checkpoint");
    select.append(...steps.map((step, i) => option(i, `step ${step.toLocaleString("en")}`)));
    select.value = String(at);
    const fill = () => {
      body.replaceChildren();
      for (const sample of item.texts.filter((text) => text.step === steps[Number(select.value)])) {
        body.append(element("h4", sample.decoding + (sample.draw > 0 ? ` ${sample.draw + 1}` : "")), element("p", sample.text || " "));
        if (sample.ended) body.append(element("span", "ended before the limit", "end"));
      }
    };
    select.addEventListener("change", fill);
    fill();
    node.append(select, body);
    return node;
  }

  function drawPrompt() {
    const item = runs[Number(run.value)].items[Number(prompt.value)];
    const steps = [...new Set(item.texts.map((text) => text.step))].sort((a, b) => a - b);
    const count = Math.min(MOST, steps.length);
    const shown = [...Array(count).keys()].map((k) => Math.round(count > 1 ? k * (steps.length - 1) / (count - 1) : 0));
    const text = byId("sample-text"), reference = byId("sample-reference");
    text.dataset.label = "prompt";
    text.textContent = item.prompt || "(no prompt)";
    reference.dataset.label = "the true continuation";
    reference.textContent = item.reference || "";
    columns.replaceChildren(...shown.map((at) => drawColumn(item, steps, at)));
  }

  function drawRun() {
    const items = runs[Number(run.value)].items;
    prompt.replaceChildren(...items.map((item, i) => option(i, `${item.probe} ${item.passage}: ${(item.prompt || "").replace(/\s+/g, " ").slice(0, 60)}`)));
    drawPrompt();
  }

  run.append(...runs.map((samples, i) => option(i, samples.name)));
  box.classList.toggle("one-run", runs.length === 1);
  run.addEventListener("change", drawRun);
  prompt.addEventListener("change", drawPrompt);
  box.hidden = false;
  drawRun();
})();
