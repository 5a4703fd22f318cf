// Draws each plotly figure of a page when it comes into view, in the page's light or dark colors.
// plotly.min.js is loaded once, and only on pages that have a figure.
// A figure made by coursekit.figures.slider gets a control that mouse, touch, keyboard and screen reader all reach.
(() => {
  "use strict";
  const library = new URL("plotly.min.js", document.currentScript.src).href;
  const CONFIG = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false, // it would stay, and cover the titles
    showSendToCloud: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d"],
  };
  const PHONE = 520; // the pixels across that a figure has on a phone at most
  const LEAST = 220; // and those down that its axes get at least
  let loading = null;
  let made = 0;

  const load = () =>
    (loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = library;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error("plotly.min.js could not be loaded"));
      document.head.append(script);
    }));

  const isDark = () => document.documentElement.dataset.theme === "dark";

  const colors = () =>
    isDark()
      ? { text: "#ced6dd", grid: "#3a4149", line: "#8b949e", box: "#22272e" }
      : { text: "#24292f", grid: "#e3e6ea", line: "#6e7781", box: "#ffffff" };

  // The figure's own layout with the page's colors; explicit colors of marks stay as they are.
  const themed = (layout) => {
    const c = colors();
    const result = structuredClone(layout);
    result.paper_bgcolor = "rgba(0,0,0,0)";
    result.plot_bgcolor = "rgba(0,0,0,0)";
    result.font = { ...result.font, color: c.text };
    result.hoverlabel = { ...result.hoverlabel, bgcolor: c.box, font: { color: c.text }, bordercolor: c.line };
    result.modebar = { bgcolor: "rgba(0,0,0,0)", color: c.line, activecolor: c.text };
    if (result.legend) result.legend = { ...result.legend, bgcolor: "rgba(0,0,0,0)" };
    const axes = new Set(["xaxis", "yaxis", ...Object.keys(result).filter((key) => /^[xy]axis\d*$/.test(key))]);
    for (const name of axes) {
      result[name] = { ...result[name], gridcolor: c.grid, zerolinecolor: c.grid, linecolor: c.line, tickcolor: c.line };
    }
    for (const note of result.annotations ?? []) note.arrowcolor ??= c.line;
    for (const menu of [...(result.sliders ?? []), ...(result.updatemenus ?? [])]) {
      menu.font = { ...menu.font, color: c.text };
      menu.bgcolor = c.box;
      menu.bordercolor = c.line;
    }
    return result;
  };

  // A text over several lines of at most n signs, unless it has tags of its own.
  const wrapped = (text, n) => {
    if (typeof text !== "string" || text.includes("<")) return text;
    const lines = text.split(" ").reduce((done, word) => {
      const longer = done.length ? `${done.at(-1)} ${word}` : word;
      return done.length && longer.length <= n ? [...done.slice(0, -1), longer] : [...done, word];
    }, []);
    return lines.join("<br>");
  };

  const titleIn = (part) => (typeof part.title === "object" ? part.title : { text: part.title });

  const domainsOf = (layout) => Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key)).map((key) => layout[key].domain ?? [0, 1]);

  // On a phone all is smaller, and long titles and names run on over several lines.
  const narrowed = ({ data, layout }, width) => {
    if (width > PHONE) return { data, layout };
    const title = titleIn(layout), share = Math.min(1, ...domainsOf(layout).map(([from, to]) => to - from));
    const ofPart = (note) => note.yref === "paper" && note.yanchor === "bottom" && !note.showarrow;
    const small = (note) => ({ ...note, text: wrapped(note.text, (share * width) / 6), font: { ...note.font, size: 11 } });
    const slim = (bar) => ({ ...bar, thickness: 12, title: { ...titleIn(bar), side: "right" } });
    return {
      data: data.map((trace) => ({
        ...trace,
        ...(trace.name && { name: wrapped(trace.name, width / 9) }),
        ...(trace.colorbar && { colorbar: slim(trace.colorbar) }),
      })),
      layout: {
        ...layout,
        font: { ...layout.font, size: 12 },
        legend: { ...layout.legend, maxheight: 1000 },
        ...(title.text && { title: { ...title, text: wrapped(title.text, width / 9), xref: "container", x: 0.02, font: { ...title.font, size: 14 } } }),
        ...(layout.annotations && { annotations: layout.annotations.map((note) => (ofPart(note) ? small(note) : note)) }),
      },
    };
  };

  // What has to change in a layout as it was drawn: axis titles that are cut run on, and a legend goes below the texts
  // that it lies on.
  const roomFor = (target) => {
    const change = {}, frame = target.getBoundingClientRect(), full = target._fullLayout;
    const box = (selector) => target.querySelector(selector)?.getBoundingClientRect();
    let lines = 0;
    for (const name of Object.keys(full).filter((key) => /^[xy]axis\d*$/.test(key))) {
      const text = target.layout[name]?.title?.text, at = box(`.g-${name.replace("axis", "")}title text`);
      if (!text || !at) continue;
      const isX = name.startsWith("x"), length = isX ? at.width : at.height, { _length, domain } = full[name];
      const middle = (at.left + at.right) / 2, isWhole = !domain || domain[1] - domain[0] === 1;
      const free = isX && isWhole ? 2 * Math.min(middle - frame.left, frame.right - middle) - 8 : Math.max(_length, 60);
      if (length <= free) continue;
      const title = wrapped(text, Math.floor((text.length * free) / length));
      change[name] = { title: { text: title } };
      if (isX) lines = Math.max(lines, title.split("<br>").length - 1);
    }
    const legend = box(".legend .bg");
    if (!legend || full.legend.y >= 0) return change;
    const lowest = (selector) => Math.max(0, ...[...target.querySelectorAll(selector)].map((part) => part.getBoundingClientRect().bottom));
    const plot = lowest(".nsewdrag"), texts = lowest("[class*=xaxislayer] text, .infolayer [class^=g-x] text") + 17 * lines;
    if (texts <= legend.top && full._size.h >= LEAST) return change;
    const below = Math.max(0, texts - plot) + 8, bottom = below + legend.height + 8, h = Math.max(full._size.h, LEAST);
    return { ...change, legend: { y: -below / h }, margin: { b: bottom }, height: full._size.t + h + bottom };
  };

  const withoutTags = (text) => (typeof text === "string" ? text.replace(/<[^>]*>/g, " ") : "");

  const titleOf = (layout) => {
    const title = layout.title?.text ?? layout.title ?? "";
    const axis = (name) => layout[name]?.title?.text;
    const axes = axis("yaxis") && axis("xaxis") ? `${axis("yaxis")} against ${axis("xaxis")}` : "";
    const text = [title, axes].filter((part) => typeof part === "string" && part).join(": ") || "figure";
    return withoutTags(text);
  };

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  const isMapping = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

  const merged = (base, change) => {
    if (!isMapping(base) || !isMapping(change)) return change;
    const result = { ...base };
    for (const [key, value] of Object.entries(change)) result[key] = merged(base[key], value);
    return result;
  };

  // A figure at one of its frames: its own data and layout with what that frame changes.
  const frameOf = (figure, index) => {
    const { data, traces, layout } = figure.frames[index];
    const change = (k) => data[traces.indexOf(k)];
    return {
      data: figure.data.map((trace, k) => (traces.includes(k) ? merged(trace, change(k)) : trace)),
      layout: { ...figure.layout, ...layout },
    };
  };

  // The control of a slider figure, in the manner of the training scrubber; `show` draws a frame.
  const controlOf = ({ label, values, describe, start }, title, show) => {
    const id = `ck-slider-${(made += 1)}`, last = values.length - 1;
    const input = make("input", { type: "range", min: 0, max: last, step: 1, value: start, id, class: "ck-range" });
    const button = make("button", { type: "button", class: "ck-play" });
    const status = make("span", { class: "ck-value" });
    // the longest text keeps the room, so that nothing below moves
    const longest = (texts) => texts.reduce((a, b) => (b.length > a.length ? b : a), "");
    const sentence = make("span");
    const described = make("p", { class: "ck-sentence", id: `${id}-text`, "data-longest": longest(describe) }, sentence);
    status.style.minWidth = `${longest(values).length}ch`;
    const go = (index) => {
      input.value = index;
      input.setAttribute("aria-valuetext", values[index]);
      status.textContent = values[index];
      sentence.textContent = describe[index] ?? "";
      show(index);
    };
    let timer = null;
    const pause = () => {
      clearInterval(timer);
      timer = null;
      described.setAttribute("aria-live", "polite");
      button.textContent = "▶ Play";
      button.setAttribute("aria-label", `Play: ${label}`);
    };
    const play = () => {
      if (Number(input.value) === last) go(0);
      described.setAttribute("aria-live", "off");
      button.textContent = "⏸ Pause";
      button.setAttribute("aria-label", `Pause: ${label}`);
      // all frames take about twelve seconds, however many there are
      timer = setInterval(() => {
        if (Number(input.value) === last - 1) pause();
        go(Math.min(last, Number(input.value) + 1));
      }, Math.min(400, Math.max(40, 12000 / values.length)));
    };
    button.addEventListener("click", () => (timer === null ? play() : pause()));
    input.addEventListener("input", () => { pause(); go(Number(input.value)); });
    pause();
    go(start);
    const card = make("div", { class: "ck-figure", role: "group", "aria-labelledby": `${id}-title` },
      make("div", { class: "ck-title", id: `${id}-title` }, withoutTags(title) || label),
      make("div", { class: "ck-controls" }, button, make("label", { for: id }, label), input, status));
    if (describe.length) {
      input.setAttribute("aria-describedby", `${id}-text`);
      card.append(described);
    }
    return card;
  };

  const drawSlider = async (box, figure, target, Plotly) => {
    const { slider } = figure.layout.meta;
    const title = figure.layout.title?.text;
    for (const part of ["meta", "title"]) delete figure.layout[part];
    // a fast hand asks for more frames than can be drawn: those in between are left out
    let wanted = slider.start, shown = null, drawing = false, room = null;
    const drawWanted = async () => {
      if (drawing) return;
      drawing = true;
      while (shown !== wanted) {
        shown = wanted;
        const { data, layout } = narrowed(frameOf(figure, shown), box.clientWidth);
        box.figureLayout = merged(layout, room ?? {});
        await Plotly.react(target, { data, layout: themed(box.figureLayout), config: CONFIG });
        box.dataset.frame = shown;
        if (room === null) {
          room = roomFor(target);
          if (Object.keys(room).length) shown = null; // once more
        }
      }
      drawing = false;
    };
    box.classList.add("ck-slider");
    const card = controlOf(slider, title, (index) => {
      wanted = index;
      if (target.isConnected) drawWanted();
    });
    card.append(target);
    box.append(card);
    await drawWanted();
  };

  const draw = async (box) => {
    if (box.dataset.state) return;
    box.dataset.state = "drawing";
    const Plotly = await load();
    const figure = JSON.parse(box.querySelector("script").textContent);
    const layout = (figure.layout ??= {});
    figure.data ??= [];
    layout.autosize = true;
    delete layout.width;
    const target = make("div", { class: "ck-plotly-figure", role: "group", "aria-label": titleOf(layout) });
    if (layout.meta?.slider) {
      await drawSlider(box, figure, target, Plotly);
    } else {
      box.append(target);
      const { data, layout: narrow } = narrowed(figure, box.clientWidth);
      box.figureLayout = narrow;
      await Plotly.newPlot(target, { data, layout: themed(narrow), frames: figure.frames ?? [], config: CONFIG });
      const room = roomFor(target);
      if (Object.keys(room).length) {
        box.figureLayout = merged(narrow, room);
        await Plotly.relayout(target, themed(box.figureLayout));
      }
    }
    box.dataset.state = "drawn";
    box.style.minHeight = "";
  };

  const start = () => {
    const boxes = [...document.querySelectorAll(".ck-plotly")];
    if (!boxes.length) return;
    const seen = new IntersectionObserver(
      (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
      { rootMargin: "400px" },
    );
    boxes.forEach((box) => seen.observe(box));
    window.addEventListener("beforeprint", () => boxes.forEach(draw));
    new MutationObserver(() => {
      for (const box of boxes.filter((b) => b.dataset.state === "drawn")) {
        window.Plotly.relayout(box.querySelector(".ck-plotly-figure"), themed(box.figureLayout));
      }
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
