// Applies the theme that the user chose in the admin, which stores it under this name; otherwise the system's.
// Unfold, the admin's own theme, reads the system's once: this makes an open page of the admin follow it.
"use strict";

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  const page = window.Alpine?.$data(document.documentElement);
  if (page?.adminTheme !== "auto") return;
  page.adminTheme = ""; // so that Alpine notices the next line and reads the system's theme again
  window.Alpine.nextTick(() => { page.adminTheme = "auto"; });
});

try {
  const chosen = JSON.parse(window.localStorage.getItem("adminTheme"));
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage, or another value: the system's theme.
}
