"use strict";
(function () {
  // A trial in a dialog: its curve, hyperparameters beside the default's, log and confusion.
  const source = document.getElementById("trial-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const order = Object.keys(data.trials);
  const dialog = document.getElementById("trial");
  const body = dialog.querySelector("[data-body]");
  let shown = "";

  function node(tag, text, attributes) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    return made;
  }
  function table(caption, columns, rows, kind) {
    const made = node("table", undefined, kind ? { class: kind } : {});
    made.append(node("caption", caption));
    const head = made.createTHead().insertRow();
    for (const column of columns) head.append(node("th", column, { scope: "col" }));
    const lines = made.createTBody();
    for (const [first, ...others] of rows) {
      const line = lines.insertRow();
      line.append(node("th", first, { scope: "row" }), ...others.map((text) => node("td", text)));
    }
    const box = node("div", undefined, { class: "scroll", tabindex: "0", role: "region", "aria-label": caption });
    box.append(made);
    return box;
  }

  function curve(epochs, values, rungs) {
    const traces = [];
    epochs.forEach((epoch, place) => {
      const rung = rungs[place];
      if (place === 0 || rung !== rungs[place - 1]) {
        const [name, colour] = data.rungs[rung] || [`rung ${rung}`, "#808080"];
        const before = place ? [[epochs[place - 1]], [values[place - 1]]] : [[], []];
        traces.push({ type: "scatter", mode: "lines+markers", name, x: before[0], y: before[1], line: { color: colour }, marker: { color: colour, size: 7 } });
      }
      traces.at(-1).x.push(epoch);
      traces.at(-1).y.push(values[place]);
    });
    const few = epochs.length && epochs.at(-1) - epochs[0] <= 8 ? { dtick: 1 } : {};
    return {
      data: traces,
      layout: {
        height: 260, margin: { l: 64, r: 16, t: 12, b: 44 }, showlegend: traces.length > 1,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { size: 12 },
        legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
        xaxis: { title: { text: "epoch" }, tickformat: "d", zeroline: false, automargin: true, ...few },
        // Plotly treats text as a kind of HTML.
        yaxis: { title: { text: data.metric.replaceAll("&", "&amp;").replaceAll("<", "&lt;") }, zeroline: false, automargin: true },
      },
    };
  }
  function hparams(parts) {
    const own = new Map();
    for (let place = 0; place < parts.length; place += 2) own.set(parts[place], parts[place + 1]);
    const differing = [...own].map(([name, text]) => [data.names[name], text || "-", ...(data.default ? [data.default[name] || "-"] : [])]);
    const found = [];
    if (!data.default) return [table("Hyperparameters", ["name", "value"], differing)];
    found.push(differing.length
      ? table("Differs from the default", ["name", "this trial", "default"], differing)
      : node("p", "All hyperparameters are as in the default."));
    const alike = data.names.map((name, place) => [name, data.default[place], place]).filter(([, text, place]) => text && !own.has(place));
    if (alike.length) {
      const more = node("details");
      more.append(node("summary", `${alike.length} as the default`), table("As the default", ["name", "value"], alike.map(([name, text]) => [name, text])));
      found.push(more);
    }
    return found;
  }
  function confusion(names, rows) {
    const box = table("Confusion of its full training: classes in rows, predictions in columns", ["class", ...names], rows.map((row, place) => [names[place], ...row]), "confusion");
    rows.forEach((row, place) => {
      const all = row.reduce((sum, text) => sum + Number(text), 0) || 1;
      const cells = box.querySelectorAll("tbody tr")[place].querySelectorAll("td");
      row.forEach((text, column) => {
        const share = Number(text) / all;
        cells[column].style.background = share ? `color-mix(in srgb, var(${column === place ? "--accent" : "--alarm"}) ${Math.round(8 + 27 * share)}%, transparent)` : "";
      });
    });
    return box;
  }

  function show(name) {
    const trial = data.trials[name];
    if (!trial) return;
    shown = name;
    const [subtitle, epochs, values, rungs, parts, log] = trial;
    dialog.querySelector("h2").textContent = name;
    const place = order.indexOf(name);
    for (const button of dialog.querySelectorAll("[data-step]")) {
      button.disabled = !order[place + Number(button.dataset.step)];
    }
    body.replaceChildren(node("p", subtitle, { class: "subtitle" }));
    const full = data.promoted[name];
    if (full) body.append(node("p", full[0]));
    const plot = node("div", undefined, { class: "plot", role: "img", "aria-label": `Learning curve of ${name}: ${data.metric} over ${epochs.length} epochs` });
    if (epochs.length && typeof Plotly !== "undefined") body.append(plot);
    body.append(...hparams(parts));
    if (log) body.append(node("h3", "Last lines of its log"), node("pre", log, { tabindex: "0", role: "region", "aria-label": `Log of ${name}` }));
    if (full && full[1].length) body.append(confusion(full[1], full[2]));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    if (plot.isConnected) window.drawFigure(plot, curve(epochs, values, rungs));
    mark("#" + name);
  }
  // The address names the open trial, so that it can be sent to someone, and a page that reloads itself keeps it.
  function mark(hash) {
    try {
      history.replaceState(null, "", hash || location.pathname + location.search);
    } catch { /* a page inside another one may not */ }
  }
  function step(by) {
    const next = order[order.indexOf(shown) + by];
    if (next) show(next);
  }
  document.addEventListener("click", (event) => {
    const row = event.target.closest("table[data-trial-place] tbody tr");
    const button = row && row.querySelector("button[data-trial]");
    if (button && !String(window.getSelection())) show(button.dataset.trial);
  });
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.dataset.step) step(Number(button.dataset.step));
    else if (event.target === dialog || (button && "close" in button.dataset)) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest("pre, .scroll")) return; // there the arrows scroll
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => mark(""));
  function open() {
    show(decodeURIComponent(location.hash.slice(1)));
  }
  window.addEventListener("hashchange", open);
  open();
})();
