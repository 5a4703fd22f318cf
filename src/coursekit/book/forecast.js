// The whole forecast under sliders. Every outcome is a product of powers of the inputs, so its logarithm is a sum: a
// slider shifts it, and its interval is that of the same sum over fixed points. The data are JSON in the element.
(() => {
  "use strict";
  const SHOWN = 4; // a bar spans 10^-4 to 10^4 times the post's number
  let made = 0;

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // Two significant digits: 0.0032, 31, 360,000, 1.3 million, 1.0 × 10²⁸.
  const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });
  const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 2, notation: "compact", compactDisplay: "long" });
  const say = (value) => {
    if (value < 1e6) return plain.format(value);
    if (value < 1e15) return compact.format(value);
    const [digits, power] = value.toExponential(1).split("e+");
    return `${digits} × 10${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
  };
  // One digit more for inputs, so that each step of a slider is seen, and for what the post prints.
  const exact = (value) => (value < 1e6 ? fine.format(value) : say(value));

  // The 5th, 25th, 50th, 75th and 95th percentile of numbers, interpolated as NumPy does.
  const quantiles = (values) => {
    values.sort();
    return [0.05, 0.25, 0.5, 0.75, 0.95].map((share) => {
      const at = share * (values.length - 1), low = Math.floor(at), high = Math.min(low + 1, values.length - 1);
      return values[low] + (at - low) * (values[high] - values[low]);
    });
  };

  // How the logarithm of each outcome deviates: widths[j] scales the deviations of input j, 0 for an input that is known.
  const spreads = ({ inputs, outcomes, n, generator }, widths) => {
    let factor = 1;
    const columns = inputs.map(({ deviations }, j) => {
      if (!deviations.length) return null;
      const mine = factor;
      factor = (factor * generator) % n;
      return widths[j] ? Float64Array.from({ length: n }, (_, i) => widths[j] * deviations[(i * mine) % n]) : null;
    });
    return outcomes.map(({ powers }) => {
      const sums = new Float64Array(n);
      powers.forEach((power, j) => {
        if (power && columns[j]) for (let i = 0; i < n; i += 1) sums[i] += power * columns[j][i];
      });
      return quantiles(sums);
    });
  };

  const build = (root) => {
    root.dataset.ready = "true";
    const data = JSON.parse(root.querySelector("script").textContent);
    const { inputs, outcomes } = data, id = `ck-forecast-${(made += 1)}`;
    let spread = [], talk = null;

    const status = make("output", { class: "ck-status" });
    const range = (name, text, low, high) => {
      const value = make("output", { class: "ck-value", for: `${id}-${name}` });
      const input = make("input", { type: "range", class: "ck-range", id: `${id}-${name}`, min: low, max: high, step: 1, value: 0 });
      const label = make("label", { for: input.id }, `${text}:`);
      return { input, value, node: make("div", { class: "ck-input" }, make("div", { class: "ck-name" }, label, " ", value), input) };
    };
    const controls = inputs.map((one) => {
      const made = range(one.name, one.text, -one.below, one.above);
      made.input.dataset.name = one.name;
      made.input.title = `From ${one.source}`;
      if (one.deviations.length) {
        made.known = make("input", { type: "checkbox", "data-known": one.name });
        made.node.append(make("label", { class: "ck-known" }, made.known, " known"));
        made.known.setAttribute("aria-label", `${one.text} is known`);
      }
      return made;
    });
    const width = range("width", "width of all uncertainty", 0, 20);
    width.input.dataset.name = "width";

    const rows = outcomes.map((one) => {
      const [text, wide, narrow, middle] = ["span", "i", "i", "i"].map((tag, k) => make(tag, { class: ["ck-number", "ck-90", "ck-50", "ck-median"][k] }));
      const node = make("li", { "data-outcome": one.name },
        make("span", { class: "ck-outcome" }, one.text), text,
        make("div", { class: "ck-track", "aria-hidden": "true" }, wide, narrow, middle, make("i", { class: "ck-post" })),
        make("span", { class: "ck-printed" }, `the post: ${exact(one.post)}`));
      return { node, text, wide, narrow, middle };
    });

    const position = (value, one) => 50 + (50 * Math.max(-SHOWN, Math.min(SHOWN, Math.log10(value / one.post)))) / SHOWN;
    const place = (bar, from, to) => { bar.style.left = `${from}%`; bar.style.width = `${to - from}%`; };
    const values = (o) => {
      const shift = outcomes[o].powers.reduce((sum, power, j) => sum + power * controls[j].input.value * inputs[j].step, 0);
      return spread[o].map((away) => outcomes[o].at_medians * Math.exp(shift + away));
    };
    const told = (o) => {
      const [p05, , p50, , p95] = values(o);
      const middle = `${p50 < 1000 ? exact(p50) : say(p50)} ${outcomes[o].unit}`;
      return p05 === p95 ? middle : `${middle} (90 %: ${say(p05)} to ${say(p95)})`;
    };
    const refresh = (moved) => {
      controls.forEach(({ input, value }, j) => {
        value.textContent = `${exact(inputs[j].median * Math.exp(input.value * inputs[j].step))} ${inputs[j].unit}`;
        input.setAttribute("aria-valuetext", value.textContent);
      });
      width.value.textContent = `${(width.input.value / 10).toFixed(1)} times`;
      width.input.setAttribute("aria-valuetext", width.value.textContent);
      rows.forEach(({ text, wide, narrow, middle, node }, o) => {
        const found = values(o), at = found.map((value) => position(value, outcomes[o]));
        text.textContent = told(o);
        node.dataset.values = JSON.stringify(found);
        place(wide, at[0], at[4]);
        place(narrow, at[1], at[3]);
        middle.style.left = `${at[2]}%`;
      });
      // said once the hand rests: the outcome that matters most among those that the input moves
      const affected = outcomes.map((_, o) => o).filter((o) => moved === undefined || outcomes[o].powers[moved]);
      const main = affected.find((o) => outcomes[o].name === "work_years") ?? affected[0];
      clearTimeout(talk);
      talk = setTimeout(() => { status.textContent = `${outcomes[main].text}: ${told(main)}`; }, 150);
    };
    const respread = (moved) => {
      spread = spreads(data, controls.map(({ known }) => (known && !known.checked ? width.input.value / 10 : 0)));
      refresh(moved);
    };
    const reset = () => {
      controls.forEach(({ input, known }) => { input.value = 0; if (known) known.checked = false; });
      width.input.value = 10;
      respread();
    };

    controls.forEach(({ input, known }, j) => {
      input.addEventListener("input", () => refresh(j));
      known?.addEventListener("change", () => respread(j));
    });
    width.input.addEventListener("input", () => respread());
    const again = make("button", { type: "button", class: "ck-button" }, "As in the post");
    again.addEventListener("click", reset);

    const uncertain = controls.filter(({ known }) => known), known = controls.filter((one) => !one.known);
    root.append(make("div", { class: "ck-figure", role: "group", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-text` },
      make("div", { class: "ck-title", id: `${id}-title` }, data.title),
      make("div", { class: "ck-panels" },
        make("div", { class: "ck-inputs" }, ...uncertain.map(({ node }) => node), width.node,
          make("details", {}, make("summary", {}, "Numbers taken as known, and k"), ...known.map(({ node }) => node)), again),
        make("ul", { class: "ck-outcomes" }, ...rows.map(({ node }) => node))),
      status,
      make("p", { id: `${id}-text`, class: "ck-description" }, data.description)));
    reset();
  };

  const start = () => document.querySelectorAll(".ck-forecast:not([data-ready])").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
