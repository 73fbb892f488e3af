// Applies the theme that the user chose in the admin, which stores it under this name; otherwise the system's.
// Unfold, the admin's own theme, reads the system's once: this makes an open page of the admin follow it.
"use strict";

const system = window.matchMedia("(prefers-color-scheme: dark)");

function followSystem() {
  const chosen = window.Alpine.$data(document.documentElement).adminTheme;
  document.documentElement.classList.toggle("dark", chosen === "dark" || (chosen === "auto" && system.matches));
}

if (window.Alpine) {
  window.Alpine.effect(followSystem); // and again when the user chooses another theme
  system.addEventListener("change", followSystem);
}

try {
  const chosen = JSON.parse(window.localStorage.getItem("adminTheme"));
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage, or another value: the system's theme.
}
