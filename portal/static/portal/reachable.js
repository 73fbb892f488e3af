// Makes Unfold's mouse-only controls usable with the keyboard, and keeps screen readers from reading out icon names.
"use strict";

const NAMES = { dock_to_right: "Menu", close: "Close", filter_list: "Filters", add: "Add", arrow_back: "Back" };
const CLICKS = "x-on:click";

function nameOf(icon) {
  const word = icon.textContent.trim();
  return NAMES[word] || word.replaceAll("_", " ");
}

for (const icon of document.querySelectorAll(".material-symbols-outlined")) {
  const holder = icon.closest("a, button");
  if (icon.hasAttribute(CLICKS)) {
    icon.setAttribute("aria-label", nameOf(icon));
  } else {
    if (holder && !holder.hasAttribute("aria-label") && holder.textContent.trim() === icon.textContent.trim()) {
      holder.setAttribute("aria-label", nameOf(icon));
    }
    icon.setAttribute("aria-hidden", "true");
  }
}

for (const element of document.querySelectorAll(`a:not([href]), span[${CSS.escape(CLICKS)}]`)) {
  if (!element.hasAttribute(CLICKS)) continue;
  element.setAttribute("role", "button");
  element.tabIndex = 0;
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    element.click();
  });
}

// On a page that loads slowly, the browser focuses the `autofocus` field and loses the focus again when Alpine shows or
// hides elements around it.
window.addEventListener("load", () => {
  if (document.activeElement === document.body) document.querySelector("[autofocus]")?.focus();
});

// The menu on narrow screens: the focus moves into it and, with its Close button or Escape, back to the button.
const menu = document.getElementById("nav-sidebar");
const switches = [...document.querySelectorAll(`[${CSS.escape(CLICKS)}*="sidebarMobileOpen"]`)];
const isShown = (element) => element.getClientRects().length > 0;
const opener = switches.find((element) => !menu?.contains(element));
if (menu && opener) {
  const closer = switches.find((element) => menu.contains(element));
  opener.addEventListener("click", () => window.setTimeout(() => {
    if (isShown(menu)) menu.querySelector("a[href], button")?.focus();
  }));
  closer?.addEventListener("click", () => window.setTimeout(() => opener.focus()));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && closer && isShown(closer)) closer.click();
  });
}
