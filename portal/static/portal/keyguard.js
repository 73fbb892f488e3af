// Keeps a whole API key that is pasted into a search field out of addresses: the key is removed from the form and sent
// by POST to the lookup of keys, if the user may see keys.
"use strict";

const KEY = /hk_(?:live|test)_[0-9A-Za-z]{8,}/;

function lookUp(text) {
  const form = document.getElementById("find-key");
  if (!form) {
    window.alert("This is an API key. The search was not sent, because it would put the key into addresses and browser histories.");
    return;
  }
  form.elements.q.value = text;
  form.submit();
  form.elements.q.value = "";
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "get") return;
  for (const field of form.querySelectorAll("input:not([type=hidden]), textarea")) {
    if (!KEY.test(field.value)) continue;
    event.preventDefault();
    event.stopImmediatePropagation();
    const text = field.value;
    field.value = "";
    lookUp(text);
    return;
  }
}, true);
