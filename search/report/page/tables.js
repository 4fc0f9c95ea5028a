"use strict";
(function () {
  // Sorting: numbers before words, unknown cells last in either direction.
  function key(text) {
    if (text === undefined) return null;
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  }
  function compare(one, other) {
    if (typeof one === typeof other) return typeof one === "number" ? one - other : one.localeCompare(other);
    return typeof one === "number" ? -1 : 1;
  }
  function sorted(rows, keyOf, sign) {
    const known = rows.map((row, place) => ({ row, place, key: keyOf(row) }));
    known.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      return sign * compare(a.key, b.key) || a.place - b.place;
    });
    return known.map((each) => each.row);
  }
  function turned(header) {
    const isAscending = header.getAttribute("aria-sort") !== "ascending";
    for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
    return isAscending ? 1 : -1;
  }
  function whole(table) {
    const body = table.tBodies[0];
    return (column, sign) => {
      body.append(...sorted(Array.from(body.rows), (row) => key(row.cells[column].dataset.order), sign));
    };
  }

  // Long tables: all rows are data, and one page of them is in the document.
  function cellOf(short) {
    const [text, order, hint] = Array.isArray(short) ? short : [short, short === "" ? null : short];
    return { text, order: order === null ? undefined : order, hint };
  }
  function element(short, isTrial) {
    const { text, order, hint } = cellOf(short);
    const cell = document.createElement(isTrial ? "th" : "td");
    cell.className = typeof order === "number" ? "number" : text.length < 40 ? "short" : "";
    if (isTrial) {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: text });
      button.dataset.trial = order;
      cell.scope = "row";
      cell.append(button);
    } else {
      cell.textContent = text;
    }
    if (hint) cell.title = hint;
    return cell;
  }
  function paged(table) {
    const data = JSON.parse(document.getElementById(table.dataset.rows).textContent);
    const pager = table.parentNode.nextElementSibling;
    const [earlier, further] = pager.querySelectorAll("button");
    const trialPlace = "trialPlace" in table.dataset ? Number(table.dataset.trialPlace) : -1;
    let all = data.rows, rows = all, first = 0;
    function show(from) {
      first = from;
      const shown = rows.slice(first, first + data.page);
      table.tBodies[0].replaceChildren(...shown.map((row) => {
        const line = document.createElement("tr");
        line.append(...row.map((short, place) => element(short, place === trialPlace)));
        return line;
      }));
      table.parentNode.scrollTop = 0;
      const range = shown.length ? `rows ${first + 1} to ${first + shown.length} of ${rows.length}` : "no rows";
      pager.querySelector("span").textContent = range + (rows.length < all.length ? `, filtered from ${all.length}` : "");
      earlier.disabled = first === 0;
      further.disabled = first + data.page >= rows.length;
    }
    for (const button of [earlier, further]) {
      button.addEventListener("click", () => show(first + Number(button.dataset.step) * data.page));
    }
    let matches = () => true;
    function narrow() {
      rows = all.filter((row) => matches(row.map((short) => cellOf(short).text).join(" ")));
      show(0);
    }
    const sort = (column, sign) => {
      all = sorted(all, (row) => key(cellOf(row[column]).order), sign);
      narrow();
    };
    sort.filter = (text) => {
      matches = matcher(text);
      narrow();
    };
    return sort;
  }
  // Filtering: the rows that contain every word, including those of pages that are not shown.
  function matcher(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    return (line) => words.every((word) => line.toLowerCase().includes(word));
  }
  function filterWhole(table, text) {
    const matches = matcher(text);
    for (const row of table.tBodies[0].rows) {
      row.hidden = !matches(Array.from(row.cells, (cell) => cell.textContent).join(" "));
    }
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const sort = table.dataset.rows ? paged(table) : whole(table);
    const input = table.parentNode.previousElementSibling?.querySelector("[data-filter]");
    const filter = sort.filter || ((text) => filterWhole(table, text));
    if (input) input.addEventListener("input", () => filter(input.value));
    for (const button of table.querySelectorAll("thead button")) {
      button.addEventListener("click", () => sort(button.parentNode.cellIndex, turned(button.parentNode)));
    }
  }
})();
