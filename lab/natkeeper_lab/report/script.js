
"use strict";
// Stretches the timeline (positions are per cent, so only its width changes) and filters the table. Everything on the
// page can be read without this.
(() => {
  const MOST = 64;
  const chart = document.querySelector(".zooms");
  const controls = document.querySelector(".controls");
  if (chart && controls) {
    const scroll = chart.querySelector(".scroll");
    const plot = chart.querySelector(".plot");
    const start = Number(plot.dataset.start), span = Number(plot.dataset.end) - start;
    const said = controls.querySelector("output");
    let zoom = 1;
    const show = (wanted, at, where) => {
      zoom = Math.min(MOST, Math.max(1, wanted));
      plot.style.width = zoom * 100 + "%";
      scroll.scrollLeft = (at - start) / span * plot.clientWidth - where * scroll.clientWidth;
      tell();
    };
    const tell = () => {
      const from = start + span * scroll.scrollLeft / plot.clientWidth;
      const to = from + span * scroll.clientWidth / plot.clientWidth;
      said.textContent = from.toFixed(2) + " s to " + to.toFixed(2) + " s";
    };
    const middle = () => start + span * (scroll.scrollLeft + scroll.clientWidth / 2) / plot.clientWidth;
    const act = {
      in: () => show(zoom * 2, middle(), .5),
      out: () => show(zoom / 2, middle(), .5),
      all: () => show(1, start, 0),
      to: (button) => {
        const from = Number(button.dataset.start), to = Number(button.dataset.end);
        show(span / (to - from) * .9, (from + to) / 2, .5);
      },
    };
    controls.hidden = false;
    controls.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) act[button.dataset.zoom](button);
    });
    scroll.addEventListener("scroll", tell, { passive: true });
    scroll.addEventListener("keydown", (event) => {
      const key = { "+": "in", "=": "in", "-": "out", "0": "all" }[event.key];
      if (key && !event.ctrlKey && !event.metaKey) { act[key](); event.preventDefault(); }
    });
    const pointed = (event) => {
      const box = scroll.getBoundingClientRect(), where = (event.clientX - box.left) / scroll.clientWidth;
      return [start + span * (scroll.scrollLeft + where * scroll.clientWidth) / plot.clientWidth, where];
    };
    scroll.addEventListener("dblclick", (event) => show(zoom * 2, ...pointed(event)));
    scroll.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      show(zoom * Math.exp(-event.deltaY / 300), ...pointed(event));
    }, { passive: false });
    addEventListener("resize", tell);
    tell();
  }
  const filters = document.querySelector(".filters");
  if (filters) {
    const rows = [...filters.parentElement.querySelectorAll("tbody tr")];
    const boxes = [...filters.querySelectorAll("input[type=checkbox]")];
    const wanted = filters.querySelector("input[type=search]"), count = filters.querySelector("output");
    const sift = () => {
      const lanes = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
      const words = wanted.value.toLowerCase();
      let left = 0;
      for (const row of rows) {
        const fits = lanes.has(row.dataset.lane) && (!words || row.textContent.toLowerCase().includes(words));
        row.hidden = !fits;
        left += fits;
      }
      count.textContent = left + " of " + rows.length;
    };
    filters.hidden = false;
    filters.addEventListener("input", sift);
    sift();
  }
})();
