// Colours from tokens.css for a canvas, which cannot use CSS variables, and an event for a change of theme.
"use strict";

/** The token's current colour: tokenColour("--chart-ok"). */
function tokenColour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/** Calls `redraw` when the system's theme changes, or the user chooses the other theme in the admin. */
function onThemeChange(redraw) {
  let scheme = getComputedStyle(document.documentElement).colorScheme;
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new MutationObserver(() => {
    const now = getComputedStyle(document.documentElement).colorScheme;
    if (now !== scheme) redraw();
    scheme = now;
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["class", "data-theme"] });
}
