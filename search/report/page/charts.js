"use strict";
(function () {
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
  // Also used for what the page draws on demand: a trial's curve.
  window.drawFigure = function (box, figure) {
    const style = getComputedStyle(document.documentElement);
    const line = style.getPropertyValue("--line").trim();
    const ink = style.getPropertyValue("--ink").trim();
    figure.layout.font.color = ink;
    figure.layout.hoverlabel = { bgcolor: style.getPropertyValue("--paper").trim(), bordercolor: line, font: { color: ink } };
    for (const name of ["xaxis", "yaxis"]) Object.assign(figure.layout[name], { gridcolor: line, linecolor: line });
    const title = figure.layout.xaxis.title;
    title.text = wrapped(title.text, (box.clientWidth - 90) / 7);
    if (box.clientWidth < 560) {
      figure.layout.font.size = 11;
      figure.layout.margin.l = 48;
      for (const trace of figure.data) if (trace.colorbar) trace.colorbar.title.text = "";
    }
    Plotly.react(box, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false });
  };
  function draw(box) {
    window.drawFigure(box, JSON.parse(document.getElementById(box.dataset.figure).textContent));
  }
  boxes.forEach((box) => { box.style.minHeight = box.dataset.height + "px"; });
  // Each plot is drawn shortly before it comes into view: all at once would block a long page for seconds.
  const drawn = new Set();
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) show(target);
  }, { rootMargin: "600px 0px" });
  function show(box) {
    seen.unobserve(box);
    if (drawn.has(box)) return;
    drawn.add(box);
    draw(box);
  }
  boxes.forEach((box) => seen.observe(box));
  window.addEventListener("beforeprint", () => boxes.forEach(show));
  dark.addEventListener("change", () => drawn.forEach(draw));
})();
