"use strict";
// The page of the run is a document of its own, the same as report.html. When the run has progressed, a new
// one is loaded behind the one that is shown, takes over what the reader did there (place, filters, order of
// tables), and replaces it: nothing flickers, and nothing of the old one stays in memory.
(function () {
  const find = (id) => document.getElementById(id);
  const path = location.pathname;
  const LEAST_MS = 2000; // between two pages; three times as long as one took, if that is longer
  const MOST_DRAWING_MS = 3000;
  const IDLE_MS = 1500; // since the last input: a page is not replaced while the reader uses it
  let shown = null, wanted = null, isLoading = false, readyMs = 0, touchedMs = -IDLE_MS, timer = 0;

  // Elements by section, kind and label, and their place among equal ones, to match those of two documents.
  function keyed(doc, selector) {
    const counts = new Map(), found = new Map();
    for (const element of doc.querySelectorAll(selector)) {
      const section = element.closest("section[id]");
      const name = `${section ? section.id : ""} ${element.tagName} ${element.getAttribute("aria-label") || element.id}`;
      const place = counts.get(name) || 0;
      counts.set(name, place + 1);
      found.set(`${name} ${place}`, element);
    }
    return found;
  }
  function each(from, to, selector, carry) {
    const targets = keyed(to, selector);
    for (const [key, element] of keyed(from, selector)) if (targets.has(key)) carry(element, targets.get(key));
  }
  function carryInput(one, other) {
    const name = one.type === "checkbox" || one.type === "radio" ? "checked" : "value";
    if (one[name] === other[name]) return;
    other[name] = one[name];
    for (const kind of ["input", "change"]) other.dispatchEvent(new Event(kind, { bubbles: true }));
  }
  function carryOrder(one, other) {
    const header = one.querySelector("th[aria-sort]");
    if (!header) return;
    const same = Array.from(other.querySelectorAll("th")).find((each) => each.textContent === header.textContent);
    const button = same && same.querySelector("button");
    for (let turn = 0; button && turn < 2; turn++) {
      if (same.getAttribute("aria-sort") !== header.getAttribute("aria-sort")) button.click();
    }
  }
  function carryFocus(from, to) {
    const active = from.activeElement;
    if (!active || active === from.body || document.activeElement?.contentDocument !== from) return;
    each(from, to, active.tagName, (one, other) => {
      if (one !== active) return;
      other.focus({ preventScroll: true });
      if (typeof one.selectionStart === "number") other.setSelectionRange(one.selectionStart, one.selectionEnd);
    });
  }
  // Rows above the reader may be new, so the place is kept relative to the section at the top.
  function carryPlace(from, to) {
    const sections = Array.from(from.querySelectorAll("section[id]"));
    const top = sections.filter((section) => section.getBoundingClientRect().top <= 1).at(-1);
    const same = top && to.getElementById(top.id);
    const view = to.defaultView;
    const y = same
      ? view.scrollY + same.getBoundingClientRect().top - top.getBoundingClientRect().top
      : from.defaultView.scrollY;
    view.scrollTo({ left: from.defaultView.scrollX, top: y, behavior: "instant" });
  }
  function carry(from, to) {
    each(from, to, "details", (one, other) => { other.open = one.open; });
    each(from, to, "input, select, textarea", carryInput);
    each(from, to, "table", carryOrder);
    each(from, to, "[tabindex='0']", (one, other) => { [other.scrollTop, other.scrollLeft] = [one.scrollTop, one.scrollLeft]; });
    carryPlace(from, to);
    carryFocus(from, to);
  }

  function isBusy() {
    if (!shown) return false;
    const doc = shown.contentDocument;
    if (performance.now() - touchedMs < IDLE_MS || doc.querySelector("dialog[open]")) return true;
    return !doc.getSelection().isCollapsed;
  }
  function watch(doc) {
    const touch = () => { touchedMs = performance.now(); };
    for (const kind of ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"]) {
      doc.addEventListener(kind, touch, { passive: true, capture: true });
    }
  }
  // Plots are drawn when they come into view: wait until those in view have been.
  async function drawn(frame) {
    const until = performance.now() + MOST_DRAWING_MS;
    const isMissing = (box) => {
      const { top, bottom } = box.getBoundingClientRect();
      return top < frame.clientHeight && bottom > 0 && !box.childElementCount;
    };
    const boxes = Array.from(frame.contentDocument.querySelectorAll("[data-figure]"));
    do await new Promise((done) => setTimeout(done, 50));
    while (boxes.some(isMissing) && performance.now() < until);
  }
  function load(version) {
    const began = performance.now(), frame = document.createElement("iframe");
    isLoading = true;
    frame.title = `page of ${find("name").textContent}`;
    frame.className = shown ? "next" : "";
    frame.addEventListener("load", () => {
      const took = performance.now() - began;
      watch(frame.contentDocument);
      if (shown) carry(shown.contentDocument, frame.contentDocument);
      drawn(frame).then(() => {
        frame.className = "";
        if (shown) shown.remove();
        shown = frame;
        frame.dataset.version = version;
        isLoading = false;
        readyMs = performance.now() + Math.max(LEAST_MS, 3 * took);
        find("written").textContent = `as of ${new Date().toISOString().slice(11, 19)} UTC`;
        consider();
      });
    }, { once: true });
    frame.src = `${path}/report?version=${version}`;
    find("frames").append(frame);
  }
  function consider() {
    clearTimeout(timer);
    if (isLoading || wanted === null || (shown && String(wanted) === shown.dataset.version)) return;
    const waitMs = readyMs - performance.now();
    if (waitMs <= 0 && !isBusy()) load(wanted);
    else timer = setTimeout(consider, Math.max(waitMs, 250));
  }

  find("name").textContent = decodeURIComponent(path.split("/").at(-1));
  find("alone").href = `${path}/report`;
  find("back").href = `/${sessionStorage.getItem("list") || ""}`; // filtered and sorted as it was left
  connect(`${path}/events`, (row) => {
    const text = (column) => (row.cells[column] || [""])[0];
    document.title = `${row.state}: ${row.name}`;
    find("state").textContent = row.state;
    find("state").className = `badge ${row.state}`;
    find("state").title = row.detail;
    const parts = [text("trials") && `${text("trials")} trials`, text("epochs") && `${text("epochs")} epochs`, text("best") && `best ${text("best")}`];
    find("progress").textContent = parts.filter(Boolean).join(", ");
    const isBroken = row.state === "damaged" || row.state === "gone";
    find("reason").hidden = !isBroken && row.state !== "killed";
    find("reason").textContent = row.state === "gone" ? "The folder of this run is gone." : row.detail;
    if (isBroken) return;
    wanted = row.version;
    consider();
  });
})();
