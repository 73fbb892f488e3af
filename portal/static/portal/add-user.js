// The page that adds a user: a machine collects no key, so choosing it chooses no first key either.
"use strict";

document.addEventListener("change", (event) => {
  if (event.target.name !== "sign_in") return;
  const wanted = event.target.value === "none" ? "" : "contributor";
  const choice = document.querySelector(`[name=preset][value="${wanted}"]`);
  if (choice) choice.checked = true;
});
