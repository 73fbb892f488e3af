// The page that shows a new secret once. It asks for confirmation before the user leaves without copying, waits for
// the first call, and removes the secret from the page when the user leaves, so that Back does not show it again.
"use strict";

const POLL_MS = 1500;
const GIVE_UP_MS = 30 * 60 * 1000;

function warnOfLeaving(reveal) {
  let isKept = false;
  const keep = () => { isKept = true; };
  reveal.addEventListener("copy", keep);
  document.addEventListener("portal:copied", keep);
  for (const link of document.querySelectorAll("[data-kept]")) link.addEventListener("click", keep);
  window.addEventListener("beforeunload", (event) => { if (!isKept) event.preventDefault(); });
}

function forget(reveal) {
  window.addEventListener("pagehide", () => {
    for (const element of reveal.querySelectorAll("[data-secret]")) {
      element.textContent = "This secret was shown once and cannot be shown again.";
    }
  });
}

async function poll(line) {
  const started = Date.now();
  while (Date.now() - started < GIVE_UP_MS) {
    await new Promise((done) => { window.setTimeout(done, POLL_MS); });
    if (document.visibilityState === "hidden") continue;
    let response;
    try {
      response = await fetch(line.dataset.connection, { headers: { Accept: "application/json" }, redirect: "error" });
    } catch {
      continue; // The network is unavailable; the key may work nevertheless.
    }
    if (!response.ok) {
      line.textContent = "The portal could not tell whether the key has been used. See the key's page.";
      return;
    }
    const use = await response.json();
    if (!use.connected) continue;
    const client = use.client ? ` with ${use.client}` : "";
    line.textContent = `Connected. First call on ${use.at} from ${use.address || "an unknown address"}${client}.`;
    line.classList.add("connected");
    return;
  }
  line.textContent = "No call yet. This page no longer checks. The key's page shows when the key was last used.";
}

const reveal = document.querySelector("[data-reveal]");
if (reveal) {
  warnOfLeaving(reveal);
  forget(reveal);
  const line = reveal.querySelector("[data-connection]");
  if (line) poll(line); // A canary has no first call.
}
