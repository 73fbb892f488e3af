// A button with data-copy="ID" copies the text of the element with that id.
// navigator.clipboard exists only on HTTPS and localhost. Elsewhere the script selects the text and runs the copy command.
"use strict";

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = window.getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

async function copy(element) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch {
      // Refused, for example without focus: continue as on plain HTTP.
    }
  }
  select(element);
  return document.execCommand("copy");
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const element = document.getElementById(button.dataset.copy);
    const isCopied = await copy(element);
    if (!isCopied) select(element);
    else document.dispatchEvent(new Event("portal:copied"));
    button.textContent = isCopied ? "Copied" : "Press Ctrl+C";
    window.setTimeout(() => { button.textContent = label; }, 2000);
  });
}
