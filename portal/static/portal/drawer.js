// A link with data-drawer opens its page in the drawer beside the list; ?part=1 requests the page without its frame.
// The dialog element keeps the keyboard focus inside, closes on Escape and restores the focus.
"use strict";

const drawer = document.getElementById("drawer");

async function open(link) {
  const address = new URL(link.href);
  address.searchParams.set("part", "1");
  const response = await fetch(address, { credentials: "same-origin" });
  if (!response.ok || response.redirected) {
    window.location.assign(link.href); // signed out or deleted: the page itself says so
    return;
  }
  const body = document.getElementById("drawer-body");
  body.innerHTML = await response.text(); // our own page, escaped by its template
  document.getElementById("drawer-title").textContent = body.querySelector("[data-title]").dataset.title;
  document.getElementById("drawer-page").href = link.href;
  if (!drawer.open) drawer.showModal();
  document.getElementById("drawer-title").focus();
}

if (drawer && drawer.showModal) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-drawer]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    open(link).catch(() => window.location.assign(link.href));
  });
  document.getElementById("drawer-close").addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });
}
