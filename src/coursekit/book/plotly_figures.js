// Draws each plotly figure of a page when it comes into view, in the page's light or dark colors.
// plotly.min.js is loaded once, and only on pages that have a figure.
// A figure made by coursekit.figures.slider gets a control that mouse, touch, keyboard and screen reader all reach.
(() => {
  "use strict";
  const library = new URL("plotly.min.js", document.currentScript.src).href;
  const CONFIG = { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
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

  // On a phone a long title runs on over several lines.
  const fitted = (layout, width) => {
    const text = layout.title?.text ?? layout.title;
    if (width > 520 || typeof text !== "string" || text.includes("<")) return layout;
    const lines = text.split(" ").reduce((done, word) => {
      const longer = done.length ? `${done.at(-1)} ${word}` : word;
      return done.length && longer.length <= width / 9 ? [...done.slice(0, -1), longer] : [...done, word];
    }, []);
    const title = typeof layout.title === "object" ? layout.title : {};
    return { ...layout, title: { ...title, text: lines.join("<br>"), font: { ...title.font, size: 14 } } };
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
    let wanted = slider.start, shown = null, drawing = false;
    const drawWanted = async () => {
      if (drawing) return;
      drawing = true;
      while (shown !== wanted) {
        shown = wanted;
        const { data, layout } = frameOf(figure, shown);
        box.figureLayout = layout;
        await Plotly.react(target, { data, layout: themed(layout), config: CONFIG });
        box.dataset.frame = shown;
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
      box.figureLayout = fitted(layout, box.clientWidth);
      await Plotly.newPlot(target, { data: figure.data, layout: themed(box.figureLayout), frames: figure.frames ?? [], config: CONFIG });
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
