// Draw a digit and watch the activations flow: a trained network runs in the page, from its weights alone.
// By mouse, touch and keyboard; the data are JSON in the element, and all arithmetic is in `activations` below.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const VIEW = { width: 640, height: 400, top: 26, grid: 150, left: 250, right: 530, bar: 60 };
  let made = 0;

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const draw = (parent, name, attributes = {}, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    parent.append(node);
    return node;
  };
  const picture = (width, height, kind) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.classList.add(kind);
    return svg;
  };

  // The network: every column from the one on its left, as in forward() of the course's analysis.py.
  const sigmoid = (z) => 1 / (1 + Math.exp(-z));
  const softmax = (zs) => {
    const top = Math.max(...zs), powers = zs.map((z) => Math.exp(z - top));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  };
  const activations = (network, pixels) => {
    const columns = [pixels];
    network.layers.forEach(({ weights, biases }, number) => {
      const left = columns.at(-1);
      const zs = weights.map((row, j) => row.reduce((sum, weight, k) => sum + weight * left[k], biases[j]));
      const isOutput = number === network.layers.length - 1;
      if (isOutput) columns.push(network.output === "softmax" ? softmax(zs) : zs.map(sigmoid));
      else columns.push(zs.map(network.activation === "relu" ? (z) => Math.max(z, 0) : sigmoid));
    });
    return columns;
  };

  // How the training images fill their frame, in pixels. The small digits: all rows, few columns, a broad pen (about as
  // much ink as they have, and as near to them as real digits are). MNIST: 20 of 28 pixels, around the center of mass.
  const frameOf = (side) =>
    side < 16 ? { width: (5 * side) / 8, height: side, pen: (1.4 * side) / 8 } : { width: (5 * side) / 7, height: (5 * side) / 7, pen: (2.25 * side) / 28, keepsShape: true };
  const MOST = 4; // a drawing is not enlarged more: a dot stays a dot

  const along = ({ from, to }, n) =>
    Array.from({ length: n + 1 }, (_, i) => ({ x: from.x + ((to.x - from.x) * i) / n, y: from.y + ((to.y - from.y) * i) / n }));
  const pointsOf = (line) => along(line, Math.max(1, Math.ceil(8 * Math.hypot(line.to.x - line.from.x, line.to.y - line.from.y))));

  // Moves and scales a drawing as its training images were.
  const fitted = (lines, side) => {
    const { width, height, pen, keepsShape } = frameOf(side), points = lines.flatMap(pointsOf);
    const ends = (axis) => points.reduce(([low, high], point) => [Math.min(low, point[axis]), Math.max(high, point[axis])], [Infinity, -Infinity]);
    const [left, right] = ends("x"), [top, bottom] = ends("y");
    let down = Math.min((height - pen) / (bottom - top), MOST);
    const across = Math.min((width - pen) / (right - left), down);
    if (keepsShape) down = across;
    const mean = (axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
    const x = keepsShape ? mean("x") : (left + right) / 2, y = keepsShape ? mean("y") : (top + bottom) / 2;
    const moved = (point) => ({ x: side / 2 + (point.x - x) * across, y: side / 2 + (point.y - y) * down });
    return lines.map(({ from, to }) => ({ from: moved(from), to: moved(to) }));
  };

  // What the network sees of lines: as in the data sets, a bitmap is finer, and a pixel is the share of ink in a square.
  const pixelsOf = (lines, side) => {
    const zoom = side < 16 ? 4 : 2, size = side * zoom, radius = (frameOf(side).pen * zoom) / 2;
    const ink = new Uint8Array(size * size), sums = new Array(side * side).fill(0);
    for (const point of lines.flatMap(pointsOf)) {
      const x = point.x * zoom, y = point.y * zoom;
      for (let row = Math.max(0, Math.floor(y - radius)); row < Math.min(size, y + radius); row += 1) {
        for (let column = Math.max(0, Math.floor(x - radius)); column < Math.min(size, x + radius); column += 1) {
          if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) ink[row * size + column] = 1;
        }
      }
    }
    ink.forEach((value, i) => { sums[Math.floor(Math.floor(i / size) / zoom) * side + Math.floor((i % size) / zoom)] += value; });
    return sums.map((sum) => sum / zoom ** 2);
  };

  const squares = (svg, n, size, corner, kind) =>
    Array.from({ length: n * n }, (_, i) => draw(svg, "rect", {
      class: kind, x: corner.x + (i % n) * size, y: corner.y + Math.floor(i / n) * size, width: size, height: size, "fill-opacity": 0,
    }));

  const padView = (side) => {
    const svg = picture(side, side, "ck-pad");
    draw(svg, "rect", { class: "ck-paper", width: side, height: side });
    const loaded = squares(svg, side, 1, { x: 0, y: 0 }, "ck-ink");
    const pen = draw(svg, "path", { class: "ck-pen" });
    const cursor = draw(svg, "rect", { class: "ck-cursor", width: 1, height: 1 });
    return {
      svg,
      show: (pixels, lines, width) => {
        loaded.forEach((square, i) => square.setAttribute("fill-opacity", pixels[i]));
        pen.setAttribute("stroke-width", width);
        pen.setAttribute("d", lines.map(({ from, to }) => `M${from.x} ${from.y}L${to.x} ${to.y}`).join(""));
      },
      point: ({ row, column }) => { cursor.setAttribute("x", column); cursor.setAttribute("y", row); },
      at: (event) => {
        const box = svg.getBoundingClientRect();
        const share = (place, start, length) => side * Math.min(0.999, Math.max(0, (place - start) / length)); // a captured pointer may leave the field
        return { x: share(event.clientX, box.left, box.width), y: share(event.clientY, box.top, box.height) };
      },
    };
  };

  // What the network sees, its hidden columns, and its ten outputs, from left to right.
  const networkView = (network) => {
    const svg = picture(VIEW.width, VIEW.height, "ck-network");
    svg.setAttribute("role", "img");
    const last = network.layers.length - 1, cell = VIEW.grid / network.side;
    const middle = (VIEW.height + VIEW.top) / 2;
    const place = (number, unit, n) => ({
      x: VIEW.left + (last ? (number * (VIEW.right - VIEW.left)) / last : VIEW.right - VIEW.left),
      y: VIEW.top + ((unit + 0.5) * (VIEW.height - VIEW.top)) / n,
    });
    const name = (number) => (number === last ? "outputs" : last === 1 ? "hidden" : `hidden ${number + 1}`);
    draw(svg, "text", { class: "ck-head", x: VIEW.grid / 2, y: middle - VIEW.grid / 2 - 10 }, "what it sees");
    draw(svg, "rect", { class: "ck-paper", x: 0, y: middle - VIEW.grid / 2, width: VIEW.grid, height: VIEW.grid });
    const seen = squares(svg, network.side, cell, { x: 0, y: middle - VIEW.grid / 2 }, "ck-ink");
    network.layers[0].biases.forEach((_, unit, all) => {
      const { x, y } = place(0, unit, all.length);
      draw(svg, "line", { class: "ck-fan", x1: VIEW.grid + 6, y1: middle, x2: x, y2: y });
    });
    const lines = network.layers.slice(1).map(({ weights }, before) => weights.map((row, j) => row.map((weight, k) => {
      const from = place(before, k, row.length), to = place(before + 1, j, weights.length);
      return draw(svg, "line", { class: weight < 0 ? "ck-minus" : "ck-plus", x1: from.x, y1: from.y, x2: to.x, y2: to.y });
    })));
    const units = network.layers.map(({ biases }, number) => {
      draw(svg, "text", { class: "ck-head", x: place(number, 0, 1).x, y: 14 }, name(number));
      return biases.map((_, unit) => {
        const { x, y } = place(number, unit, biases.length);
        const radius = Math.min(10, (0.42 * (VIEW.height - VIEW.top)) / biases.length);
        draw(svg, "circle", { class: "ck-hole", cx: x, cy: y, r: radius });
        const circle = draw(svg, "circle", { class: "ck-unit", cx: x, cy: y, r: radius });
        return { circle, title: draw(circle, "title") };
      });
    });
    const bars = units[last].map((_, digit) => {
      const { x, y } = place(last, digit, units[last].length);
      const label = draw(svg, "text", { class: "ck-digit", x: x + 24, y: y + 6 }, digit);
      return { label, bar: draw(svg, "rect", { class: "ck-bar", x: x + 36, y: y - 6, width: 0, height: 12 }) };
    });
    const show = (columns, best) => {
      seen.forEach((square, i) => square.setAttribute("fill-opacity", columns[0][i]));
      lines.forEach((layer, before) => {
        const parts = network.layers[before + 1].weights.map((row) => row.map((weight, k) => Math.abs(weight * columns[before + 1][k])));
        const most = Math.max(...parts.flat()) || 1;
        layer.forEach((row, j) => row.forEach((line, k) => line.setAttribute("stroke-opacity", (parts[j][k] / most).toFixed(3))));
      });
      units.forEach((column, number) => {
        const values = columns[number + 1], most = Math.max(1, ...values);
        column.forEach(({ circle, title }, unit) => {
          circle.setAttribute("fill-opacity", values[unit] / most);
          circle.dataset.value = values[unit];
          title.textContent = `${name(number)}, ${number === last ? "digit" : "unit"} ${unit}: ${values[unit].toFixed(2)}`;
        });
      });
      bars.forEach(({ label, bar }, digit) => {
        bar.setAttribute("width", VIEW.bar * columns.at(-1)[digit]);
        label.classList.toggle("ck-best", digit === best);
        bar.classList.toggle("ck-best", digit === best);
      });
    };
    return { svg, show };
  };

  const build = (root) => {
    root.dataset.ready = "true";
    const network = JSON.parse(root.querySelector("script").textContent);
    const id = `ck-digits-${(made += 1)}`, { side, examples } = network;
    const pad = padView(side), view = networkView(network), paper = new Array(side * side).fill(0);
    const cursor = { row: side >> 1, column: side >> 1 };
    let lines = [], loaded = paper, shown = "drawing", example = -1, from = null, talk = null;

    const surface = make("div", {
      class: "ck-surface", tabindex: 0, role: "application", "aria-roledescription": "drawing field",
      "aria-label": `Draw a digit, ${side} by ${side} pixels`, "aria-describedby": `${id}-keys`,
    });
    pad.svg.setAttribute("aria-hidden", "true");
    surface.append(pad.svg);
    const status = make("output", { class: "ck-status" });
    const where = make("span", { class: "ck-where", "aria-live": "polite" });
    const button = (text, action) => {
      const node = make("button", { type: "button", class: "ck-button" }, text);
      node.addEventListener("click", action);
      return node;
    };

    const fit = make("input", { type: "checkbox", checked: "" });
    const refresh = () => {
      const drawn = lines.length && fit.checked ? fitted(lines, side) : lines;
      const columns = activations(network, lines.length ? pixelsOf(drawn, side) : loaded), outputs = columns.at(-1);
      const order = outputs.map((_, digit) => digit).sort((a, b) => outputs[b] - outputs[a]);
      pad.show(loaded, lines, frameOf(side).pen / (fit.checked ? 2 : 1)); // a fine pen, unless its width is what counts
      view.show(columns, order[0]);
      const reading = `reads ${order[0]} (${outputs[order[0]].toFixed(2)}), then ${order[1]} (${outputs[order[1]].toFixed(2)})`;
      view.svg.setAttribute("aria-label", `Activations of the network, which ${reading}`);
      const blank = !lines.length && !loaded.some((value) => value > 0);
      const what = blank ? "Nothing is drawn, and the network still" : { drawing: "The network", noise: "This is noise, and the network" }[shown] ?? `This is a real ${shown}. The network`;
      clearTimeout(talk); // said once the hand rests
      talk = setTimeout(() => { status.textContent = `${what} ${reading}.`; }, 150);
    };
    const load = (pixels, name) => { [lines, loaded, shown] = [[], pixels, name]; refresh(); };
    const clear = () => load(paper, "drawing");
    const stroke = (start, end) => {
      if (shown !== "drawing") [loaded, shown] = [paper, "drawing"]; // a drawing never goes on top of what was loaded
      lines.push({ from: start, to: end });
      refresh();
    };
    const center = () => ({ x: cursor.column + 0.5, y: cursor.row + 0.5 });
    const isHere = ({ x, y }) => Math.floor(x) === cursor.column && Math.floor(y) === cursor.row;
    const isThrough = (line) => pointsOf(line).some(isHere);
    const here = () => cursor.row * side + cursor.column;
    const erase = () => {
      lines = lines.filter((line) => !isThrough(line));
      loaded = loaded.map((value, i) => (i === here() ? 0 : value));
      refresh();
    };
    const tell = () => {
      pad.point(cursor);
      const inked = loaded[here()] > 0 || lines.some(isThrough) ? "ink" : "paper";
      where.textContent = `Row ${cursor.row + 1}, column ${cursor.column + 1}: ${inked}`;
    };

    fit.addEventListener("change", refresh);
    surface.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      surface.setPointerCapture(event.pointerId);
      surface.classList.remove("ck-keyed");
      from = pad.at(event);
      stroke(from, from);
    });
    surface.addEventListener("pointermove", (event) => {
      if (from === null || !event.isPrimary) return;
      const to = pad.at(event);
      stroke(from, to);
      from = to;
    });
    for (const end of ["pointerup", "pointercancel"]) surface.addEventListener(end, () => { from = null; });

    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    surface.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const start = center();
      if (event.key in moves) {
        const [down, right] = moves[event.key];
        cursor.row = Math.min(side - 1, Math.max(0, cursor.row + down));
        cursor.column = Math.min(side - 1, Math.max(0, cursor.column + right));
        if (event.shiftKey) stroke(start, center());
      } else if (event.key === " ") stroke(start, start);
      else if (event.key === "Backspace" || event.key === "Delete") erase();
      else return;
      event.preventDefault();
      surface.classList.add("ck-keyed"); // after a click, Firefox has no :focus-visible here
      tell();
    });

    const controls = make("div", { class: "ck-controls" }, button("Clear", clear));
    const next = () => { example = (example + 1) % examples.length; load(examples[example].pixels, String(examples[example].label)); };
    if (examples.length) controls.append(button("A real digit", next));
    controls.append(button("Noise", () => load(Array.from({ length: side * side }, Math.random), "noise")));
    root.append(make("div", { class: "ck-figure", role: "group", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` },
      make("div", { class: "ck-title", id: `${id}-title` }, network.title),
      make("div", { class: "ck-panels" },
        make("div", { class: "ck-hand" }, surface, where, controls,
          make("label", { class: "ck-fit" }, fit, " Center and resize the drawing, as the training images were"),
          make("p", { class: "ck-keys", id: `${id}-keys` },
            "Draw with a mouse or a finger. By keyboard: arrow keys move the cursor, Space inks, Shift and an arrow draw a line, Backspace erases.")),
        make("div", { class: "ck-mind" }, view.svg, status)),
      make("p", { id: `${id}-text`, class: "ck-description" }, network.description)));
    pad.point(cursor);
    if (examples.length) next();
    else clear();
  };

  const start = () => document.querySelectorAll(".ck-digits:not([data-ready])").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
