"use strict";
(function () {
  const COLUMNS = [
    ["name", "run"],
    ["space", "space"],
    ["state", "state"],
    ["trials", "trials", "number"],
    ["best", "best", "number"],
    ["gain", "against default", "number"],
    ["epochs", "epochs", "number"],
    ["time", "time", "number"],
    ["kwh", "kWh", "number"],
    ["co2e", "gCO2e", "number"],
    ["cost", "cost", "number"],
    ["started", "started (UTC)", "number"],
  ];
  const STATE_PLACE = COLUMNS.findIndex(([column]) => column === "state");
  const STATES = ["running", "promoting", "reading", "killed", "damaged", "ended", "promoted"];
  const find = (id) => document.getElementById(id);
  const controls = { words: find("words"), state: find("state"), space: find("space"), sort: find("sort") };
  const runs = new Map(); // by name: the row as it was sent, and its line in the table
  const order = { column: "started", isDescending: true };
  let folder = "", numUnread = 0, isKnown = false;

  // A cell is its text, its sort key (null if unknown) and its hint.
  function cellOf(row, column) {
    if (column === "name") return [row.name, row.name, ""];
    if (column === "state") return [row.state, STATES.indexOf(row.state), row.detail];
    return row.cells[column] || ["", null, ""];
  }
  function compare(one, other) {
    const [a, b] = [cellOf(one.row, order.column)[1], cellOf(other.row, order.column)[1]];
    const sign = order.isDescending ? -1 : 1;
    let result;
    if (a === null || b === null) result = (a === null) - (b === null);
    else result = sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    return result || one.row.name.localeCompare(other.row.name);
  }
  function isWanted({ row }) {
    if (controls.state.value && row.state !== controls.state.value) return false;
    if (controls.space.value && cellOf(row, "space")[0] !== controls.space.value) return false;
    const words = controls.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return true;
    const text = [...COLUMNS.map(([column]) => cellOf(row, column)[0]), row.detail].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  function made(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text) element.textContent = text;
    return element;
  }
  function line(row) {
    const tr = made("tr");
    tr.dataset.run = row.name;
    for (const [column, title, kind] of COLUMNS) {
      const cell = made(column === "name" ? "th" : "td", [column, kind].filter(Boolean).join(" "));
      if (column === "name") {
        cell.scope = "row";
        const link = made("a");
        link.href = `/runs/${encodeURIComponent(row.name)}`;
        cell.append(link);
      } else {
        cell.append(made("span", "label", title), made("span", "value"));
      }
      tr.append(cell);
    }
    return tr;
  }
  function fill(tr, row) {
    COLUMNS.forEach(([column], place) => {
      const cell = tr.cells[place], [text, , hint] = cellOf(row, column);
      const value = cell.lastChild;
      if (value.textContent !== text) value.textContent = text;
      if (column === "state") value.className = `value badge ${row.state}`;
      cell.title = hint;
      cell.classList.toggle("unknown", text === "");
    });
    // A run that cannot be read shows the reason instead of everything else.
    const state = tr.cells[STATE_PLACE], isDamaged = row.state === "damaged";
    tr.classList.toggle("damaged", isDamaged);
    state.colSpan = isDamaged ? COLUMNS.length - 1 : 1;
    state.dataset.why = isDamaged ? row.detail.split("\n")[0].replace(`${folder}/`, "") : "";
  }
  function show() {
    const all = Array.from(runs.values()), wanted = all.filter(isWanted).sort(compare);
    const body = find("rows");
    const isSame = wanted.length === body.rows.length && wanted.every(({ tr }, place) => body.rows[place] === tr);
    if (!isSame) body.replaceChildren(...wanted.map(({ tr }) => tr));
    const num = all.filter(({ row }) => row.state === "running" || row.state === "promoting").length;
    const parts = [`${all.length} run${all.length === 1 ? "" : "s"}`, `${num} running`];
    if (wanted.length < all.length) parts.push(`${wanted.length} shown`);
    if (numUnread) parts.push(`${numUnread} not read yet`);
    find("count").textContent = isKnown ? parts.join(", ") : "";
    const empty = find("empty");
    empty.hidden = !isKnown || wanted.length > 0;
    empty.textContent = all.length
      ? "No run matches the filter."
      : `No runs in ${folder} yet; new ones appear here.`;
    document.title = num ? `${num} running, runs` : "runs";
  }
  function listSpaces() {
    const names = new Set(Array.from(runs.values(), ({ row }) => cellOf(row, "space")[0]));
    names.delete("");
    const known = Array.from(controls.space.options, (option) => option.value);
    const missing = [...names].filter((name) => !known.includes(name)).sort();
    for (const name of missing) controls.space.append(new Option(name, name));
    if (missing.length && asked.get("space")) controls.space.value = asked.get("space");
  }

  function sortBy(column, isDescending) {
    Object.assign(order, { column, isDescending });
    for (const header of find("columns").cells) {
      if (header.dataset.column !== column) header.removeAttribute("aria-sort");
      else header.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
    }
    controls.sort.value = `${column} ${isDescending ? "down" : "up"}`;
  }
  // Filter and order are in the address, which can be kept, and in the session, for returning from a run.
  const asked = new URLSearchParams(location.search);
  function remember() {
    const now = new URLSearchParams();
    for (const name of ["words", "state", "space"]) if (controls[name].value) now.set(name, controls[name].value);
    now.set("sort", controls.sort.value);
    history.replaceState(null, "", `?${now}`);
    sessionStorage.setItem("list", `?${now}`);
    asked.delete("space");
    show();
  }
  for (const [column, title, kind] of COLUMNS) {
    const header = made("th", [column, kind].filter(Boolean).join(" "));
    header.scope = "col";
    header.dataset.column = column;
    const button = made("button", "", title);
    button.type = "button";
    button.addEventListener("click", () => {
      const isFirst = order.column !== column;
      sortBy(column, isFirst ? kind === "number" : !order.isDescending);
      remember();
    });
    header.append(button);
    find("columns").append(header);
    controls.sort.append(new Option(`${title}, descending`, `${column} down`), new Option(`${title}, ascending`, `${column} up`));
  }
  controls.words.value = asked.get("words") || "";
  controls.state.value = asked.get("state") || "";
  const [column, way] = (asked.get("sort") || "started down").split(" ");
  sortBy(COLUMNS.some(([key]) => key === column) ? column : "started", way !== "up");
  find("controls").addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["words", "state", "space"]) controls[name].addEventListener("input", remember);
  controls.sort.addEventListener("input", () => {
    const [key, direction] = controls.sort.value.split(" ");
    sortBy(key, direction === "down");
    remember();
  });

  connect("/events", (news) => {
    isKnown = true;
    folder = news.folder;
    numUnread = news.unread;
    find("folder").textContent = folder;
    const names = new Set(news.rows.map((row) => row.name));
    const gone = news.is_whole ? Array.from(runs.keys()).filter((name) => !names.has(name)) : news.gone;
    for (const name of gone) runs.delete(name);
    for (const row of news.rows) {
      const known = runs.get(row.name) || { tr: line(row) };
      known.row = row;
      fill(known.tr, row);
      runs.set(row.name, known);
    }
    listSpaces();
    show();
  });
})();
