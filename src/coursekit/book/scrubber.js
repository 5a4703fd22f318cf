// Training scrubber: one control moves through a training run; accuracy, loss and embedding follow together.
// Plain SVG and one range input, so that mouse, touch and keyboard all work; the data are JSON in the element.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const CHART = { width: 360, height: 190, left: 46, right: 12, top: 12, bottom: 34 };
  const CIRCLE = { size: 360, margin: 26 };
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

  const grouped = (step) => step.toString().replace(/\B(?=(\d{3})+$)/g, ",");
  const percent = (value) => (value === null ? "not measured" : `${Math.round(value * 100)} %`);
  const nats = (value) => (value === null ? "not measured" : value >= 0.01 ? value.toFixed(2) : value.toExponential(0));
  const superscript = (exponent) => String(exponent).replace(/./g, (digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit] ?? "⁻");
  const short = (power) => (power >= 0 && power < 4 ? grouped(10 ** power) : `10${superscript(power)}`);

  // Steps on a logarithmic axis; step 0 has no logarithm and stands at the left edge.
  const stepAxis = (steps) => {
    const first = steps.find((step) => step > 0);
    const low = Math.log10(first), high = Math.log10(steps.at(-1));
    const span = high - low || 1;
    const left = CHART.left, right = CHART.width - CHART.right;
    return {
      at: (step) => left + ((Math.log10(Math.max(step, first)) - low) / span) * (right - left),
      ticks: Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => Math.ceil(low) + i),
    };
  };

  const chart = (data, options) => {
    const { steps } = data, x = stepAxis(steps);
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${CHART.width} ${CHART.height}`);
    svg.setAttribute("role", "img");
    svg.classList.add("ck-chart");
    const bottom = CHART.height - CHART.bottom;
    for (const tick of options.ticks) {
      const y = options.y(tick.value);
      draw(svg, "line", { class: "ck-grid", x1: CHART.left, x2: CHART.width - CHART.right, y1: y, y2: y });
      draw(svg, "text", { class: "ck-tick", x: CHART.left - 6, y: y + 4, "text-anchor": "end" }, tick.text);
    }
    for (const power of x.ticks) {
      const at = x.at(10 ** power);
      draw(svg, "line", { class: "ck-grid", x1: at, x2: at, y1: CHART.top, y2: bottom });
      draw(svg, "text", { class: "ck-tick", x: at, y: bottom + 15, "text-anchor": "middle" }, short(power));
    }
    draw(svg, "text", { class: "ck-tick", x: CHART.width - CHART.right, y: CHART.height - 4, "text-anchor": "end" }, "training step");
    const path = (values, end) => {
      let pen = "M", text = "";
      values.slice(0, end).forEach((value, i) => {
        if (value === null) pen = "M";
        else { text += `${pen}${x.at(steps[i]).toFixed(1)},${options.y(value).toFixed(1)}`; pen = "L"; }
      });
      return text;
    };
    const cursor = draw(svg, "line", { class: "ck-cursor", y1: CHART.top, y2: bottom });
    const lines = options.curves.map(({ values, kind }) => {
      draw(svg, "path", { class: `ck-line ck-${kind} ck-future`, d: path(values) });
      const line = draw(svg, "path", { class: `ck-line ck-${kind}` });
      const dot = draw(svg, "circle", { class: `ck-dot ck-${kind}`, r: 4.5 });
      return { values, line, dot };
    });
    const show = (index) => {
      const at = x.at(steps[index]);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      for (const { values, line, dot } of lines) {
        line.setAttribute("d", path(values, index + 1));
        const value = values[index];
        dot.setAttribute("visibility", value === null ? "hidden" : "visible");
        if (value !== null) { dot.setAttribute("cx", at); dot.setAttribute("cy", options.y(value)); }
      }
      svg.setAttribute("aria-label", options.label(index));
    };
    // the recorded step nearest to a pointer
    const nearest = (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * CHART.width;
      let best = 0;
      steps.forEach((step, i) => { if (Math.abs(x.at(step) - at) < Math.abs(x.at(steps[best]) - at)) best = i; });
      return best;
    };
    return { svg, show, nearest };
  };

  const accuracyChart = (data) => {
    const top = CHART.top, height = CHART.height - CHART.bottom - top;
    return chart(data, {
      y: (value) => top + (1 - value) * height,
      ticks: [0, 0.5, 1].map((value) => ({ value, text: percent(value) })),
      curves: [{ values: data.train_accuracy, kind: "train" }, { values: data.val_accuracy, kind: "val" }],
      label: (i) => `Accuracy up to step ${grouped(data.steps[i])}: training ${percent(data.train_accuracy[i])}, validation ${percent(data.val_accuracy[i])}`,
    });
  };

  const lossChart = (data) => {
    const positive = [...data.train_loss, ...data.val_loss].filter((value) => value > 0);
    const low = Math.floor(Math.log10(Math.min(...positive, 1))), high = Math.ceil(Math.log10(Math.max(...positive, 1)) + 1e-9);
    const span = Math.max(high - low, 1), floor = 10 ** low;
    const top = CHART.top, height = CHART.height - CHART.bottom - top;
    const stride = Math.ceil(span / 5);
    const powers = Array.from({ length: span + 1 }, (_, i) => low + i).filter((power) => (high - power) % stride === 0);
    return chart(data, {
      y: (value) => top + ((high - Math.log10(Math.max(value, floor))) / span) * height,
      ticks: powers.map((power) => ({ value: 10 ** power, text: short(power) })),
      curves: [{ values: data.train_loss, kind: "train" }, { values: data.val_loss, kind: "val" }],
      label: (i) => `Loss up to step ${grouped(data.steps[i])}: training ${nats(data.train_loss[i])} nats, validation ${nats(data.val_loss[i])} nats`,
    });
  };

  const embeddingPanel = (data) => {
    const n = data.labels.length, order = data.order ?? data.labels.map((_, i) => i);
    const reach = Math.max(...data.embeddings.flat(2).map(Math.abs)) || 1;
    const half = CIRCLE.size / 2, scale = (half - CIRCLE.margin) / reach;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${CIRCLE.size} ${CIRCLE.size}`);
    svg.setAttribute("role", "img");
    svg.classList.add("ck-circle");
    draw(svg, "line", { class: "ck-grid", x1: half, x2: half, y1: 8, y2: CIRCLE.size - 8 });
    draw(svg, "line", { class: "ck-grid", x1: 8, x2: CIRCLE.size - 8, y1: half, y2: half });
    const joined = draw(svg, "path", { class: "ck-joined" });
    const every = Math.ceil(n / 24);
    const points = data.labels.map((label, i) => {
      const hue = Math.round((360 * i) / n);
      const circle = draw(svg, "circle", { class: "ck-point", r: n > 60 ? 3.5 : 5, style: `--hue:${hue}` });
      draw(circle, "title", {}, label);
      return circle;
    });
    const texts = order.map((point, place) => (place % every ? null : { point, text: draw(svg, "text", { class: "ck-name", "text-anchor": "middle" }, data.labels[point]) })).filter(Boolean);
    const show = (index) => {
      const step = data.steps[index];
      let frame = 0;
      data.embedding_steps.forEach((saved, i) => { if (saved <= step) frame = i; });
      const at = data.embeddings[frame].map(([px, py]) => [half + px * scale, half - py * scale]);
      points.forEach((circle, i) => { circle.setAttribute("cx", at[i][0]); circle.setAttribute("cy", at[i][1]); });
      if (data.order) joined.setAttribute("d", `M${order.map((i) => `${at[i][0].toFixed(1)},${at[i][1].toFixed(1)}`).join("L")}Z`);
      for (const { point, text } of texts) {
        const [px, py] = at[point], far = Math.hypot(px - half, py - half) || 1;
        text.setAttribute("x", px + ((px - half) / far) * 13);
        text.setAttribute("y", py + ((py - half) / far) * 13 + 4);
      }
      const saved = grouped(data.embedding_steps[frame]);
      svg.setAttribute("aria-label", `Embedding of the ${n} numbers at step ${saved}, projected onto a plane`);
      return saved;
    };
    return { svg, show };
  };

  const panel = (title, detail, ...content) =>
    make("div", { class: "ck-panel" }, make("div", { class: "ck-panel-title" }, make("strong", {}, title), " ", detail), ...content);

  const build = (root) => {
    root.dataset.ready = "true";
    const data = JSON.parse(root.querySelector("script").textContent);
    const id = `ck-scrubber-${(made += 1)}`, last = data.steps.length - 1;
    const accuracy = accuracyChart(data), loss = lossChart(data), embedding = embeddingPanel(data);
    const savedAt = make("span", { class: "ck-detail" });
    const joined = data.frequency === null ? "" : ` · line: a to a + ${data.order[1]} (frequency ${data.frequency})`;

    const slider = make("input", { type: "range", min: 0, max: last, step: 1, value: data.start, id: `${id}-step`, class: "ck-range" });
    const button = make("button", { type: "button", class: "ck-play" });
    const status = make("output", { class: "ck-status", for: `${id}-step` });
    const legend = make("div", { class: "ck-legend" },
      make("span", { class: "ck-key ck-train" }, "training"), make("span", { class: "ck-key ck-val" }, "validation"));
    const figure = make("div", { class: "ck-figure", role: "group", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` },
      make("div", { class: "ck-title", id: `${id}-title` }, data.title),
      make("div", { class: "ck-controls" }, button, make("label", { for: `${id}-step` }, "Training step"), slider, status),
      make("div", { class: "ck-panels" },
        make("div", { class: "ck-column" },
          legend,
          panel("Accuracy", "", accuracy.svg),
          panel("Loss", "(nats, log scale)", loss.svg)),
        make("div", { class: "ck-column" }, panel("Embedding", savedAt, embedding.svg))),
      make("p", { id: `${id}-text`, class: "ck-description" }, data.description));
    root.append(figure);

    let timer = null;
    const show = (index) => {
      slider.value = index;
      accuracy.show(index);
      loss.show(index);
      savedAt.textContent = `saved at step ${embedding.show(index)}${joined}`;
      const step = grouped(data.steps[index]);
      status.textContent = `step ${step} · training accuracy ${percent(data.train_accuracy[index])} · validation accuracy ${percent(data.val_accuracy[index])}`;
      slider.setAttribute("aria-valuetext", `step ${data.steps[index]}, training accuracy ${percent(data.train_accuracy[index])}, validation accuracy ${percent(data.val_accuracy[index])}`);
    };
    const pause = () => {
      clearInterval(timer);
      timer = null;
      button.textContent = "▶ Play";
      button.setAttribute("aria-label", "Play: move through training");
    };
    const play = () => {
      if (Number(slider.value) === last) show(0);
      button.textContent = "⏸ Pause";
      button.setAttribute("aria-label", "Pause");
      // a whole run takes about twelve seconds, however many steps were recorded
      timer = setInterval(() => {
        show(Math.min(last, Number(slider.value) + 1));
        if (Number(slider.value) === last) pause();
      }, Math.min(400, Math.max(40, 12000 / data.steps.length)));
    };
    button.addEventListener("click", () => (timer === null ? play() : pause()));
    slider.addEventListener("input", () => { pause(); show(Number(slider.value)); });
    for (const { svg, nearest } of [accuracy, loss]) {
      const move = (event) => { pause(); show(nearest(event)); };
      svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); move(event); });
      svg.addEventListener("pointermove", (event) => { if (event.buttons) move(event); });
    }
    pause();
    show(data.start);
  };

  const start = () => document.querySelectorAll(".ck-scrubber:not([data-ready])").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
