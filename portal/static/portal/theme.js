// Applies the theme that the user chose in the admin, which stores it under this name; otherwise the system's.
"use strict";

try {
  const chosen = JSON.parse(window.localStorage.getItem("adminTheme"));
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage, or another value: the system's theme.
}
