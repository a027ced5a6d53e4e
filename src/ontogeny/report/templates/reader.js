"use strict";
// The passage reader: two passages, one slider over checkpoints, a curve for every token.
(() => {
  const box = document.getElementById("passages");
  if (!box) return;
  const CHANGE_REF = 8, NLL_REF = 12, RANK_REF = 1000;
  const byId = (id) => document.getElementById(id);
  const slider = byId("at"), colour = byId("colour"), tip = byId("tip");
  const state = { at: 0, follow: true, panes: [] };
  let books = [], moments = [];

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const buffer = await new Response(stream).arrayBuffer();
    let start = 4 + new DataView(buffer).getUint32(0, true);
    const book = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, start - 4)));
    book.codes = {};
    for (const [name, size] of Object.entries(book.arrays)) {
      book.codes[name] = undoDifferences(new Uint8Array(buffer, start, size), book.steps.length);
      start += size;
    }
    book.tables = {};
    for (const [name, how] of Object.entries(book.scales)) book.tables[name] = table(how);
    return book;
  }

  function undoDifferences(codes, width) {
    for (let i = 0; i < codes.length; i++) if (i % width) codes[i] += codes[i - 1];
    return codes;
  }

  function table(how) {
    const values = new Float64Array(256);
    for (let code = 0; code < 255; code++) {
      values[code] = how.scale === "root" ? how.cap * (code / 254) ** 2 : 2 ** (how.cap * code / 254) - 1;
    }
    values[255] = NaN;
    return values;
  }

  const value = (book, name, token, at) =>
    book.tables[name] ? book.tables[name][book.codes[name][token * book.steps.length + at]] : NaN;

  // One slider for all runs: the moment's step; a run shows its last checkpoint up to that step.
  function checkpointOf(book) {
    const step = moments[state.at].step;
    let at = 0;
    while (at + 1 < book.steps.length && book.steps[at + 1] <= step) at++;
    return at;
  }

  function passageOf(pane) {
    const set = books[pane.run].sets.find((one) => one.name === pane.set);
    return set.passages.find((one) => one.id === pane.passage) || set.passages[0];
  }

  function meanNll(book, passage, at) {
    let sum = 0, count = 0;
    for (let i = 0; i < passage.pieces.length; i++) {
      const nll = value(book, "nll", passage.at + i, at);
      if (!Number.isNaN(nll)) { sum += nll; count++; }
    }
    return count ? sum / count : NaN;
  }

  function tint(name, book, token, at) {
    if (name === "change") {
      const by = value(book, "nll", token, at) - value(book, "nll", token, 0);
      if (Number.isNaN(by)) return "";
      return `rgb(var(${by > 0 ? "--heat" : "--cool"}) / ${(0.8 * Math.min(1, Math.sqrt(Math.abs(by) / CHANGE_REF))).toFixed(3)})`;
    }
    return heat(name, value(book, name, token, at));
  }

  function heat(name, x) {
    if (Number.isNaN(x)) return "";
    const share = name === "rank" ? Math.log2(1 + x) / Math.log2(1 + RANK_REF) : Math.sqrt(x / NLL_REF);
    return `rgb(var(--heat) / ${(0.82 * Math.min(1, share)).toFixed(3)})`;
  }

  const nats = (x) => Number.isNaN(x) ? "–" : (x < 0 ? "−" : "") + Math.abs(x).toFixed(Math.abs(x) < 0.095 ? 3 : 2);
  const whole = (x) => Math.round(x).toLocaleString("en");
  function spokenRank(x) {
    if (Number.isNaN(x)) return "–";
    return Math.round(x) === 0 ? "0, the first choice" : (x > 20 ? "about " : "") + whole(x);
  }

  function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, val] of Object.entries(attributes)) {
      if (key === "class") node.className = val; else if (key in node) node[key] = val; else node.setAttribute(key, val);
    }
    node.append(...children);
    return node;
  }

  // A token without text: a special one, or a later byte of the character before it.
  function pieceOf(passage, token) {
    const odd = passage.odd?.[token];
    return odd === undefined ? passage.cut[token] : odd.startsWith("part") ? "·" : `⟨${odd}⟩`;
  }

  function cutPieces(passage) {
    let start = passage.start;
    passage.cut = passage.pieces.map((length) => passage.text.slice(start, (start += length)));
  }

  // --- drawing -------------------------------------------------------------------------------------------------
  function drawText(pane) {
    const passage = passageOf(pane);
    pane.tokens = passage.pieces.map((_, i) => make("span", { textContent: pieceOf(passage, i).replace(/\n/g, "↵\n") }));
    pane.node.querySelector(".text").replaceChildren(...pane.tokens);
  }

  function paint(pane) {
    const book = books[pane.run], passage = passageOf(pane), at = checkpointOf(book);
    const marks = book.codes.extracted, width = book.steps.length;
    pane.tokens.forEach((node, i) => {
      const token = passage.at + i;
      node.style.backgroundColor = tint(colour.value, book, token, at);
      const underlined = marks && marks[token * width + at] === 1;
      node.className = [underlined && "extracted", pane.token === i && "chosen", pane.cursor === i && "cursor",
        Number.isNaN(value(book, "nll", token, at)) && "unseen"].filter(Boolean).join(" ");
    });
    const out = marks ? extractedShare(book, passage, at) : "";
    const stats = pane.node.querySelector(".stats");
    stats.replaceChildren("Mean NLL ", make("b", { textContent: nats(meanNll(book, passage, at)) }),
      ` nats; ${nats(meanNll(book, passage, 0))} at step ${whole(book.steps[0])}${out}. ${passage.source}`);
    detail(pane);
  }

  function extractedShare(book, passage, at) {
    const width = book.steps.length;
    const count = passage.pieces.filter((_, i) => book.codes.extracted[(passage.at + i) * width + at] === 1).length;
    return count ? `; ${count} tokens that greedy decoding reproduces` : "";
  }

  function detail(pane) {
    const book = books[pane.run], passage = passageOf(pane), at = checkpointOf(book);
    const node = pane.node.querySelector(".detail");
    const series = { nll: [], entropy: [] };
    for (let t = 0; t < book.steps.length; t++) {
      if (pane.token === null) { series.nll.push(meanNll(book, passage, t)); continue; }
      series.nll.push(value(book, "nll", passage.at + pane.token, t));
      series.entropy.push(value(book, "entropy", passage.at + pane.token, t));
    }
    const head = make("div", { class: "head" });
    if (pane.token === null) {
      head.append(make("span", { textContent: "Mean NLL of this passage, by checkpoint" }));
    } else {
      const token = passage.at + pane.token;
      const close = make("button", { type: "button", textContent: "whole passage" });
      close.addEventListener("click", () => { pane.token = null; paint(pane); remember(); });
      head.append(make("span", {}, make("b", { textContent: named(passage, pane.token) }),
        ` token ${pane.token} · NLL ${nats(value(book, "nll", token, at))} nats · rank ${spokenRank(value(book, "rank", token, at))}` +
        ` · entropy ${nats(value(book, "entropy", token, at))} nats`), close);
    }
    node.replaceChildren(head, curve(book, series, at, node.clientWidth || 480));
    node.dataset.token = pane.token === null ? "" : String(pane.token);
  }

  const named = (passage, token) => passage.odd?.[token] ?? shown(pieceOf(passage, token));
  const spaces = (run) => run.length > 3 ? `␣×${run.length}` : "␣".repeat(run.length);
  const shown = (piece) => `“${piece.replace(/\n/g, "↵").replace(/^ +| +$/g, spaces)}”`;

  function svg(tag, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, val] of Object.entries(attributes)) node.setAttribute(key, val);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function curve(book, series, at, width) {
    const height = 150, left = 34, right = 12, top = 14, bottom = 24, n = book.steps.length;
    const finite = [...series.nll, ...series.entropy].filter(Number.isFinite);
    const most = niceTop(Math.max(0.1, ...finite));
    const x = (t) => left + (n > 1 ? t / (n - 1) : 0.5) * (width - left - right);
    const y = (v) => top + (1 - v / most) * (height - top - bottom);
    const out = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "NLL by checkpoint", class: "curve" });
    for (const share of [0, 0.5, 1]) {
      out.append(svg("line", { x1: left, x2: width - right, y1: y(most * share), y2: y(most * share), stroke: "var(--grid)" }));
      out.append(svg("text", { x: left - 6, y: y(most * share) + 4, "text-anchor": "end", fill: "var(--soft)" }, String(+(most * share).toPrecision(2))));
    }
    const ticks = Math.min(n, width > 420 ? 6 : 4);
    for (let k = 0; k < ticks; k++) {
      const t = Math.round(ticks > 1 ? k * (n - 1) / (ticks - 1) : 0);
      const anchor = k === 0 ? "start" : k === ticks - 1 ? "end" : "middle";
      out.append(svg("text", { x: x(t), y: height - 6, "text-anchor": anchor, fill: "var(--soft)" }, (k ? "" : "step ") + whole(book.steps[t])));
    }
    out.append(svg("line", { x1: x(at), x2: x(at), y1: top - 6, y2: height - bottom, stroke: "var(--soft)", "stroke-dasharray": "3 3" }));
    if (series.entropy.length) out.append(line(series.entropy, x, y, "var(--soft)", "4 3"), note(width - right, 10, "solid NLL, dashed entropy, nats"));
    else out.append(note(width - right, 10, "nats per token"));
    out.append(line(series.nll, x, y, "var(--c2)", ""));
    series.nll.forEach((v, t) => {
      if (Number.isFinite(v)) out.append(svg("circle", { cx: x(t), cy: y(v), r: t === at ? 4.5 : 2.5, fill: "var(--c2)" }));
      const hit = svg("rect", { x: x(t) - (width - left) / n / 2, y: 0, width: (width - left) / n, height, fill: "transparent", class: "pickable" });
      hit.append(svg("title", {}, `step ${whole(book.steps[t])}: NLL ${nats(v)}`));
      hit.addEventListener("click", () => goTo(moments.findIndex((m) => m.step === book.steps[t])));
      out.append(hit);
    });
    return out;
  }

  function line(values, x, y, stroke, dashes) {
    let path = "", pen = "M";
    values.forEach((v, t) => {
      if (!Number.isFinite(v)) { pen = "M"; return; }
      path += `${pen}${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
      pen = "L";
    });
    return svg("path", { d: path || "M0 0", fill: "none", stroke, "stroke-width": 1.8, "stroke-dasharray": dashes });
  }

  const note = (x, y, text) => svg("text", { x, y, "text-anchor": "end", fill: "var(--soft)" }, text);

  function niceTop(x) {
    const power = 10 ** Math.floor(Math.log10(x));
    return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].find((m) => m * power >= x) * power;
  }

  function drawLegend() {
    const name = colour.value, legend = byId("legend");
    const swatch = (text, background) => { const i = make("i", { textContent: text }); i.style.background = background; return i; };
    if (name === "change") {
      const at = (x) => swatch((x > 0 ? "+" : x < 0 ? "−" : "") + Math.abs(x), `rgb(var(${x > 0 ? "--heat" : "--cool"}) / ${0.8 * Math.min(1, Math.sqrt(Math.abs(x) / CHANGE_REF))})`);
      legend.replaceChildren(...[-8, -4, -1, 0, 1, 4, 8].map(at), " nats");
    } else if (name === "rank") {
      legend.replaceChildren(...[0, 3, 10, 100, 1000].map((x) => swatch(x === 1000 ? "≥ 1000" : String(x), heat(name, x))));
    } else {
      legend.replaceChildren(...[0, 0.5, 1, 2, 4, 8, 12].map((x) => swatch(x === 12 ? "≥ 12" : String(x), heat(name, x))), " nats");
    }
  }

  function paintAll() {
    const moment = moments[state.at];
    slider.value = String(state.at);
    const epoch = Number.isFinite(moment.epoch) ? ` · epoch ${+moment.epoch.toFixed(2)}` : "";
    const place = `step ${whole(moment.step)}${epoch} · ${whole(moment.tokens)} tokens seen`;
    byId("place").textContent = place;
    slider.setAttribute("aria-valuetext", place);
    state.panes.forEach(paint);
  }

  function goTo(at) {
    state.at = Math.max(0, Math.min(moments.length - 1, at));
    state.follow = state.at === moments.length - 1;
    paintAll();
    remember();
  }

  // --- choosing ------------------------------------------------------------------------------------------------
  const option = (value, text) => make("option", { value: String(value), textContent: text });

  function fill(pane) {
    const book = books[pane.run], last = book.steps.length - 1;
    const [run, set, passage] = ["run", "set", "passage"].map((name) => pane.node.querySelector(`[data-choose=${name}]`));
    run.replaceChildren(...books.map((one, i) => option(i, one.run)));
    set.replaceChildren(...book.sets.map((one) => option(one.name, `${one.name} (${one.role})`)));
    const chosen = book.sets.find((one) => one.name === pane.set);
    passage.replaceChildren(...chosen.passages.map((one) =>
      option(one.id, `${one.id}: ${nats(meanNll(book, one, 0))} → ${nats(meanNll(book, one, last))}  ${one.source.split(":").pop()}`)));
    [run.value, set.value, passage.value] = [pane.run, pane.set, pane.passage];
  }

  function choose(pane, what, chosen) {
    if (what === "run") pane.run = Number(chosen);
    if (what === "set") pane.set = chosen;
    if (what === "passage") pane.passage = Number(chosen);
    settle(pane);
    pane.token = pane.cursor = null;
    fill(pane);
    drawText(pane);
    paint(pane);
    remember();
  }

  // Another run or set may lack the previous choice: take the first.
  function settle(pane) {
    if (!books[pane.run]) pane.run = 0;
    const sets = books[pane.run].sets;
    const set = sets.find((one) => one.name === pane.set) || sets[0];
    pane.set = set.name;
    if (!set.passages.some((one) => one.id === pane.passage)) pane.passage = set.passages[0].id;
    const passage = passageOf(pane);
    if (pane.token !== null && !(pane.token >= 0 && pane.token < passage.pieces.length)) pane.token = null;
  }

  // --- pointer and keys ----------------------------------------------------------------------------------------
  function showTip(pane, index) {
    const book = books[pane.run], passage = passageOf(pane), token = passage.at + index, at = checkpointOf(book);
    const nll = value(book, "nll", token, at);
    const lines = Number.isNaN(nll) ? ["no prediction here"] : [
      `NLL ${nats(nll)} nats (probability ${(Math.exp(-nll)).toPrecision(2)})`,
      `rank ${spokenRank(value(book, "rank", token, at))}`, `entropy ${nats(value(book, "entropy", token, at))} nats`];
    tip.replaceChildren(make("b", { textContent: named(passage, index) }), ...lines.flatMap((text) => [make("br"), text]));
    tip.hidden = false;
    const near = pane.tokens[index].getClientRects()[0] || pane.tokens[index].getBoundingClientRect();
    const over = near.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, Math.min(innerWidth - tip.offsetWidth - 8, near.left))}px`;
    tip.style.top = `${over > 8 ? over : near.bottom + 8}px`;
  }

  function listen(pane) {
    const text = pane.node.querySelector(".text");
    const indexOf = (event) => pane.tokens.indexOf(event.target);
    text.addEventListener("pointerover", (event) => { const i = indexOf(event); if (i >= 0) showTip(pane, i); });
    text.addEventListener("pointerleave", () => { tip.hidden = true; });
    text.addEventListener("click", (event) => {
      const i = indexOf(event);
      if (i < 0) return;
      pane.token = pane.cursor = pane.token === i ? null : i;
      paint(pane);
      remember();
    });
    text.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10 }[event.key];
      if (by) pane.cursor = Math.max(0, Math.min(pane.tokens.length - 1, (pane.cursor ?? -Math.sign(by)) + by));
      else if (event.key === "Enter" && pane.cursor !== null) pane.token = pane.cursor;
      else if (event.key === "Escape") pane.token = pane.cursor = null;
      else return;
      event.preventDefault();
      paint(pane);
      if (pane.cursor === null) tip.hidden = true; else showTip(pane, pane.cursor);
      remember();
    });
    text.addEventListener("blur", () => { tip.hidden = true; });
    pane.node.querySelectorAll("select").forEach((select) =>
      select.addEventListener("change", () => choose(pane, select.dataset.choose, select.value)));
  }

  // --- state: the address holds what is shown, so that it survives a reload and can be shared ---------------------
  function remember() {
    const parts = new URLSearchParams({ t: state.follow ? "last" : String(moments[state.at].step), c: colour.value });
    state.panes.forEach((pane, i) => parts.set("lr"[i], [pane.run, pane.set, pane.passage, pane.token ?? ""].join("~")));
    history.replaceState(null, "", `#${parts}`);
  }

  function recall() {
    const parts = new URLSearchParams(location.hash.slice(1));
    if (!parts.has("t")) return;
    const step = moments.findIndex((m) => String(m.step) === parts.get("t"));
    if (step >= 0) { state.at = step; state.follow = false; }
    if ([...colour.options].some((one) => one.value === parts.get("c"))) colour.value = parts.get("c");
    state.panes.forEach((pane, i) => {
      const [run, set, passage, token] = (parts.get("lr"[i]) || "").split("~");
      if (set === undefined) return;
      Object.assign(pane, { run: Number(run), set, passage: Number(passage), token: token ? Number(token) : null });
    });
  }

  function play() {
    const button = byId("play");
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "▶"; };
    button.addEventListener("click", () => {
      if (timer) return stop();
      if (state.at === moments.length - 1) goTo(0);
      button.textContent = "❚❚";
      timer = setInterval(() => { goTo(state.at + 1); if (state.at === moments.length - 1) stop(); }, 450);
    });
  }

  function open() {
    const seen = new Map();
    books.forEach((book) => book.steps.forEach((step, i) =>
      seen.has(step) || seen.set(step, { step, epoch: book.epochs[i] ?? NaN, tokens: book.tokensSeen[i] })));
    moments = [...seen.values()].sort((a, b) => a.step - b.step);
    books.forEach((book) => book.sets.forEach((set) => set.passages.forEach(cutPieces)));
    state.at = moments.length - 1;
    slider.max = String(moments.length - 1);
    state.panes = [...box.querySelectorAll(".pane")].map((node, i) => {
      const [run, set, passage] = pageData.firstChoice[i];
      return { node, run, set, passage, token: null, cursor: null, tokens: [] };
    });
    recall();
    box.hidden = false;
    box.classList.toggle("one-run", books.length === 1);
    byId("underline-note").hidden = !books.some((book) => book.codes.extracted);
    for (const pane of state.panes) { settle(pane); fill(pane); drawText(pane); listen(pane); }
    slider.addEventListener("input", () => goTo(Number(slider.value)));
    colour.addEventListener("change", () => { drawLegend(); paintAll(); remember(); });
    addEventListener("resize", () => state.panes.forEach(detail));
    play();
    drawLegend();
    paintAll();
  }

  async function start() {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack it (Chrome 80, Firefox 113, Safari 16.4 or later can)");
    books = await Promise.all([...document.querySelectorAll(".reader-data")].map((node) => unpack(node.textContent.trim())));
    open();
  }

  const started = start().catch((error) => {
    const failed = byId("reader-failed");
    failed.hidden = false;
    failed.textContent = `The passage reader could not be opened: ${error.message}.`;
  });
  window.ontogenyReady = Promise.all([window.ontogenyReady, started]).then(() => {});
})();
