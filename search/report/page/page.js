"use strict";
(function () {
  // Sorting: numbers before words, cells of something unknown last whichever way.
  function key(row, column) {
    const text = row.cells[column].dataset.order;
    if (text === undefined) return null;
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  }
  function compare(one, other) {
    if (typeof one === typeof other) return typeof one === "number" ? one - other : one.localeCompare(other);
    return typeof one === "number" ? -1 : 1;
  }
  function sort(header) {
    const isAscending = header.getAttribute("aria-sort") !== "ascending";
    const sign = isAscending ? 1 : -1;
    const body = header.closest("table").tBodies[0];
    const rows = Array.from(body.rows, (row, place) => ({ row, place, key: key(row, header.cellIndex) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      return sign * compare(a.key, b.key) || a.place - b.place;
    });
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
    body.append(...rows.map((each) => each.row));
  }
  for (const button of document.querySelectorAll("table.sortable th button")) {
    button.addEventListener("click", () => sort(button.parentNode));
  }

  // Plots: text and grid in the page's colours, and labels that fit a narrow screen.
  if (typeof Plotly === "undefined") return;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const boxes = Array.from(document.querySelectorAll("[data-figure]"));
  function wrapped(text, width) {
    const lines = [""];
    for (const word of text.split(" ")) {
      if (lines.at(-1) && lines.at(-1).length + word.length > width) lines.push("");
      lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
    }
    return lines.join("<br>");
  }
  function draw(box) {
    const figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);
    const style = getComputedStyle(document.documentElement);
    const line = style.getPropertyValue("--line").trim();
    figure.layout.font.color = style.getPropertyValue("--ink").trim();
    for (const name of ["xaxis", "yaxis"]) Object.assign(figure.layout[name], { gridcolor: line, linecolor: line });
    const title = figure.layout.xaxis.title;
    title.text = wrapped(title.text, (box.clientWidth - 90) / 7);
    if (box.clientWidth < 560) {
      figure.layout.font.size = 11;
      figure.layout.margin.l = 48;
    }
    Plotly.react(box, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false });
  }
  boxes.forEach((box) => { box.style.minHeight = box.dataset.height + "px"; });
  boxes.forEach(draw);
  dark.addEventListener("change", () => boxes.forEach(draw));
})();
