// A whole API key pasted into a search field never goes into an address: it is taken out of the form and sent
// by POST to where keys are looked up, if the person may see keys at all.
"use strict";

const KEY = /hk_(?:live|test)_[0-9A-Za-z]{8,}/;

function lookUp(text) {
  const form = document.getElementById("find-key");
  if (!form) {
    window.alert("This is an API key. It was not sent: a search leaves it in addresses and histories.");
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
