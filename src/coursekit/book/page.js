// Small repairs of the theme: search from files, and scrolling by keyboard in whatever is wider than its box.
(() => {
  "use strict";
  // Search fetches each result's page for a summary, which a browser forbids between files.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  const SCROLLERS = "pre, .cell_output .output, .table-wrapper, div.math, mjx-container, .bd-sidebar-primary, .bd-sidebar-secondary";

  const makeScrollable = () => {
    for (const box of document.querySelectorAll(SCROLLERS)) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls && !box.hasAttribute("tabindex")) box.tabIndex = 0;
    }
  };
  const start = () => {
    // a wide table scrolls inside its own box, never the page
    for (const table of document.querySelectorAll(".bd-article table")) {
      if (table.parentElement.classList.contains("table-wrapper") || table.closest(".cell_output")) continue;
      const wrapper = document.createElement("div");
      wrapper.className = "table-wrapper";
      table.replaceWith(wrapper);
      wrapper.append(table);
    }
    // a fold of the table of contents has no text of its own
    for (const summary of document.querySelectorAll(".bd-sidebar-primary summary")) {
      const link = summary.closest("li")?.querySelector("a");
      summary.setAttribute("aria-label", `Pages of ${link?.textContent.trim() ?? "this part"}`);
    }
    // roles that docutils gives to citations, with children which those roles do not allow
    for (const list of document.querySelectorAll(".citation-list, .citation-list .citation")) list.removeAttribute("role");
    makeScrollable();
    window.addEventListener("resize", makeScrollable);
    window.MathJax?.startup?.promise?.then(makeScrollable);
  };
  if (document.readyState === "complete") start();
  else window.addEventListener("load", start);
})();
