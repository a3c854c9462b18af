// Reads the numbers of a chart off its own table where the pointer or the arrow keys are. The page is whole without it.
"use strict";
(() => {
  const tip = document.getElementById("tip");
  const cross = document.createElement("div");
  cross.className = "cross";

  function parts(drawing) {
    const rows = [...drawing.closest("figure").querySelectorAll("tr[data-x]")];
    const svg = [...drawing.querySelectorAll("svg[data-plot]")].find((each) => each.clientWidth > 0);
    if (!rows.length || !svg) return null;
    const [left, right, , , low, high] = svg.dataset.plot.split(" ").map(Number);
    return { rows, box: svg.getBoundingClientRect(), left, right, low, high };
  }

  function show(drawing, index, at) {
    const { rows, box, left, right, low, high } = at;
    const row = rows[index];
    const share = left + ((Number(row.dataset.x) - low) / (high - low)) * (right - left);
    const x = box.left + share * box.width;
    drawing.dataset.index = index;
    drawing.append(cross);
    cross.style.left = `${x - drawing.getBoundingClientRect().left}px`;
    const names = [...row.closest("table").tHead.rows[0].cells].map((cell) => cell.textContent);
    tip.replaceChildren(...[...row.cells].map((cell, column) => {
      const line = document.createElement("div");
      const name = document.createElement("i");
      name.textContent = names[column];
      line.append(name, cell.textContent);
      return line;
    }));
    tip.hidden = false;
    const wide = tip.offsetWidth;
    tip.style.left = `${Math.max(4, x + 14 + wide > innerWidth ? x - wide - 14 : x + 14)}px`;
    tip.style.top = `${Math.max(4, Math.min(box.top + 8, innerHeight - tip.offsetHeight - 4))}px`;
  }

  function hide() {
    tip.hidden = true;
    cross.remove();
  }

  for (const drawing of document.querySelectorAll(".drawing")) {
    drawing.addEventListener("pointermove", (event) => {
      const at = parts(drawing);
      if (!at) return;
      const share = (event.clientX - at.box.left) / at.box.width;
      const wanted = at.low + ((share - at.left) / (at.right - at.left)) * (at.high - at.low);
      const distance = (index) => Math.abs(Number(at.rows[index].dataset.x) - wanted);
      let nearest = 0;
      for (let index = 1; index < at.rows.length; index++) if (distance(index) < distance(nearest)) nearest = index;
      show(drawing, nearest, at);
    });
    drawing.addEventListener("pointerleave", hide);
    drawing.addEventListener("blur", hide);
    drawing.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Escape") hide();
      const at = step && parts(drawing);
      if (!at) return;
      event.preventDefault();
      const from = Number(drawing.dataset.index ?? (step > 0 ? -1 : at.rows.length));
      show(drawing, Math.max(0, Math.min(at.rows.length - 1, from + step)), at);
    });
  }

  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details.criterion, details.rest");
    if (!folded || folded.open) return;
    folded.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
