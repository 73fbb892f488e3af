// On MLflow's own pages, before MLflow's script: opens on experiments and models instead of MLflow's demo page, unless
// the person chose otherwise, keeps the portal's bar in the theme of the page below it, and opens another organisation when one is chosen there.
"use strict";

const START = "#/experiments";
// MLflow's own settings, as it keeps them in the browser. The person's choice stays.
const CHOSEN = { "mlflow.workflowType_v1": "machine_learning" }; // what the menu shows
// The assistant is closed: its panel does not open by itself. Nor does the dialog that advertises MLflow's new registry.
const CLOSED = {
  "mlflow.assistant.panelOpen_v1": false,
  "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": true,
  "_mlflow_model_registry_promo_modal_dismissed_v1": true,
};

try {
  for (const [name, value] of Object.entries(CHOSEN)) {
    if (window.localStorage.getItem(name) === null) window.localStorage.setItem(name, JSON.stringify(value));
  }
  for (const [name, value] of Object.entries(CLOSED)) window.localStorage.setItem(name, JSON.stringify(value));
} catch {
  // Storage is closed: MLflow uses its default.
}
if (["", "#", "#/"].includes(window.location.hash)) {
  window.history.replaceState(null, "", window.location.pathname + window.location.search + START);
}

document.addEventListener("DOMContentLoaded", () => {
  const follow = () => {
    document.documentElement.dataset.theme = document.body.classList.contains("dark-mode") ? "dark" : "light";
  };
  new MutationObserver(follow).observe(document.body, { attributeFilter: ["class"] });
  follow();
  // Another organisation: the page loads again in it, on its start, since an address here names an object of this one.
  const form = document.querySelector(".portal-bar form.organisation");
  if (form) {
    form.querySelector("button").hidden = true;
    form.querySelector("select").addEventListener("change", () => form.submit());
  }
});
