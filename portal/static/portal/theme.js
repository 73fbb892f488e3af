// Light or dark as the person chose in the admin, which keeps it under this name; else the system's way.
"use strict";

try {
  const chosen = JSON.parse(window.localStorage.getItem("adminTheme"));
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage, or not ours: the system's way.
}
