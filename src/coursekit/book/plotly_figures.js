// Draws each plotly figure of a page when it comes into view, in the page's light or dark colors.
// plotly.min.js is loaded once, and only on pages that have a figure.
(() => {
  "use strict";
  const library = new URL("plotly.min.js", document.currentScript.src).href;
  let loading = null;

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

  const titleOf = (layout) => {
    const title = layout.title?.text ?? layout.title ?? "";
    const axis = (name) => layout[name]?.title?.text;
    const axes = axis("yaxis") && axis("xaxis") ? `${axis("yaxis")} against ${axis("xaxis")}` : "";
    const text = [title, axes].filter((part) => typeof part === "string" && part).join(": ") || "figure";
    return text.replace(/<[^>]*>/g, " ");
  };

  const draw = async (box) => {
    if (box.dataset.state) return;
    box.dataset.state = "drawing";
    const Plotly = await load();
    const figure = JSON.parse(box.querySelector("script").textContent);
    const layout = figure.layout ?? {};
    layout.autosize = true;
    delete layout.width;
    const target = document.createElement("div");
    target.className = "ck-plotly-figure";
    target.setAttribute("role", "group");
    target.setAttribute("aria-label", titleOf(layout));
    box.append(target);
    await Plotly.newPlot(target, {
      data: figure.data ?? [],
      layout: themed(fitted(layout, box.clientWidth)),
      frames: figure.frames ?? [],
      config: { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] },
    });
    box.figureLayout = fitted(layout, box.clientWidth);
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
