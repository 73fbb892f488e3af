// The page that shows a new secret, once: asks before it is left with nothing copied, waits for the first call,
// and takes the secret out of the page when it goes, so that Back finds none.
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
      element.textContent = "Shown once. Not shown again.";
    }
  });
}

async function poll(line) {
  const started = Date.now();
  while (Date.now() - started < GIVE_UP_MS) {
    await new Promise((done) => { window.setTimeout(done, POLL_MS); });
    if (document.visibilityState === "hidden") continue;
    let answer;
    try {
      answer = await fetch(line.dataset.connection, { headers: { Accept: "application/json" }, redirect: "error" });
    } catch {
      continue; // The network is away; the key may work all the same.
    }
    if (!answer.ok) {
      line.textContent = "The portal does not say whether the key was used. Look at the key's page.";
      return;
    }
    const use = await answer.json();
    if (!use.connected) continue;
    const client = use.client ? ` with ${use.client}` : "";
    line.textContent = `Connected. First call on ${use.at} from ${use.address || "an unknown address"}${client}.`;
    line.classList.add("connected");
    return;
  }
  line.textContent = "No call yet. This page has stopped looking; the key's page says when it is used.";
}

const reveal = document.querySelector("[data-reveal]");
if (reveal) {
  warnOfLeaving(reveal);
  forget(reveal);
  const line = reveal.querySelector("[data-connection]");
  if (line) poll(line); // A canary waits for no call.
}
