// Ctrl K, or the button in the sidebar: search for a page, a key or a user. The text is sent by POST.
"use strict";

const PAUSE_MS = 150;

function palette(dialog) {
  const form = dialog.querySelector("form");
  const field = form.elements.text;
  const results = dialog.querySelector("#palette-results");
  let chosen = -1, waiting = 0, asked = 0;

  const hits = () => [...results.querySelectorAll("[role=option]")];

  function choose(index) {
    const options = hits();
    chosen = options.length ? (index + options.length) % options.length : -1;
    options.forEach((option, at) => option.setAttribute("aria-selected", String(at === chosen)));
    field.setAttribute("aria-expanded", String(options.length > 0));
    if (chosen < 0) {
      field.removeAttribute("aria-activedescendant");
      return;
    }
    field.setAttribute("aria-activedescendant", options[chosen].id);
    options[chosen].scrollIntoView({ block: "nearest" });
  }

  async function ask() {
    const mine = ++asked;
    const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (mine !== asked) return;
    results.innerHTML = response.ok ? await response.text() : "<p role=\"status\">The search failed. Reload the page.</p>";
    choose(0);
  }

  function open() {
    if (dialog.open) return;
    field.value = "";
    dialog.showModal();
    ask();
  }

  field.addEventListener("input", () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(ask, PAUSE_MS);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    window.clearTimeout(waiting);
    await ask();
    hits()[chosen]?.click();
  });
  field.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(chosen + step);
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    field.value = "";
    results.replaceChildren();
  });
  window.addEventListener("pagehide", () => dialog.close());
  document.addEventListener("click", (event) => { if (event.target.closest("[data-palette]")) open(); });
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.metaKey || event.ctrlKey)) return;
    event.preventDefault();
    open();
  });
}

const dialog = document.getElementById("palette");
if (dialog) palette(dialog);
