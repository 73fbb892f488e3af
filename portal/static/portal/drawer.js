// A link with data-drawer opens the page that it leads to in the drawer beside the list, as far as ?part=1 shows it.
// A dialog keeps the keyboard inside, closes on Escape and gives the focus back.
"use strict";

const drawer = document.getElementById("drawer");

async function open(link) {
  const address = new URL(link.href);
  address.searchParams.set("part", "1");
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok || answer.redirected) {
    window.location.assign(link.href); // signed out, or gone: the page says so
    return;
  }
  const body = document.getElementById("drawer-body");
  body.innerHTML = await answer.text(); // our own page, escaped there
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
