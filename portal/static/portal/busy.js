// Shows that something is running, and how far it has got. A form that was sent says so beside its button; if the button
// has data-progress, the page asks that address how many of how many are done. A link with
// data-export counts the lines of its file, or the bytes of a binary one, while they arrive; it can be cancelled, and
// says if the download fails.
// Without JavaScript, forms and links work as usual.
"use strict";

const QUIET_MS = 400; // what ends sooner shows nothing
const ASK_MS = 500; // between two questions how far it has got
const PART_BYTES = 4 * 1024 * 1024; // the browser may keep parts of a file on disk
const NEWLINE = 10;

// A line beside an element: `words` are announced to screen readers, the changing `figures` are not.
function progressLine(element) {
  const line = document.createElement("p");
  line.className = "waiting";
  const words = document.createElement("span");
  words.setAttribute("role", "status");
  const figures = document.createElement("span");
  figures.setAttribute("aria-hidden", "true");
  line.append(words, figures);
  (element.closest(".buttons") || element).after(line);
  return { line, words, figures };
}

// "1,200 of 5,000, " once the first is done.
async function askProgress(address) {
  try {
    const response = await fetch(address, { headers: { Accept: "application/json" }, redirect: "error" });
    const { done, total } = response.ok ? await response.json() : {};
    return total ? `${done.toLocaleString("en")} of ${total.toLocaleString("en")}, ` : "";
  } catch {
    return ""; // The action goes on; only its progress is not known.
  }
}

function showRunning(button) {
  const { line, words, figures } = progressLine(button);
  const started = Date.now();
  let progress = "", isOver = false;
  const follow = async () => {
    progress = (await askProgress(button.dataset.progress)) || progress;
    if (!isOver) setTimeout(follow, ASK_MS);
  };
  if (button.dataset.progress) follow();
  button.setAttribute("aria-busy", "true");
  button.setAttribute("aria-disabled", "true");
  const timer = setInterval(() => {
    words.textContent = `${button.dataset.busy || "Working"}…`;
    figures.textContent = `${progress}${Math.round((Date.now() - started) / 1000)} s`;
  }, 200);
  return () => {
    isOver = true;
    clearInterval(timer);
    line.remove();
    button.removeAttribute("aria-busy");
    button.removeAttribute("aria-disabled");
  };
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  const button = event.submitter || form.querySelector("button[type=submit]");
  if (event.defaultPrevented || !button || form.closest("nav, header, dialog")) return;
  let end = () => {};
  const timer = setTimeout(() => { end = showRunning(button); }, QUIET_MS);
  window.addEventListener("pageshow", () => { clearTimeout(timer); end(); }, { once: true });
});

async function readFile(response, onProgress) {
  const isText = !/parquet/.test(response.headers.get("Content-Type"));
  const inWords = (lines, bytes) => isText
    ? `${lines.toLocaleString("en")} lines` : `${Math.ceil(bytes / 1024).toLocaleString("en")} KiB`;
  const reader = response.body.getReader();
  const parts = [];
  let pieces = [], size = 0, lines = 0, bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    for (let at = value.indexOf(NEWLINE); at >= 0; at = value.indexOf(NEWLINE, at + 1)) lines += 1;
    pieces.push(value);
    size += value.length;
    bytes += value.length;
    if (size >= PART_BYTES) {
      parts.push(new Blob(pieces));
      pieces = [];
      size = 0;
    }
    onProgress(inWords(lines, bytes));
  }
  const file = new Blob([...parts, ...pieces], { type: response.headers.get("Content-Type") });
  return { file, amount: inWords(lines, bytes) };
}

function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function download(link, signal, figures) {
  const response = await fetch(link.href, { credentials: "same-origin", signal });
  const disposition = response.headers.get("Content-Disposition") || "";
  if (response.redirected || !response.ok || !disposition.startsWith("attachment")) {
    throw new Error(`the portal responded with ${response.redirected ? "a redirect" : response.status}`);
  }
  const { file, amount } = await readFile(response, (words) => { figures.textContent = words; });
  const name = /filename="([^"]+)"/.exec(disposition);
  save(file, name ? name[1] : "export.csv");
  return amount;
}

async function runExport(link) {
  const { line, words, figures } = progressLine(link);
  const abort = new AbortController();
  const cancel = document.createElement("button");
  cancel.type = "button";
  cancel.className = "button";
  cancel.textContent = "Cancel";
  cancel.addEventListener("click", () => abort.abort());
  line.append(cancel);
  link.setAttribute("aria-busy", "true");
  setTimeout(() => { words.textContent ||= "Downloading…"; });
  try {
    words.textContent = `Downloaded ${await download(link, abort.signal, figures)}.`;
    line.classList.add("connected");
  } catch (error) {
    const cause = abort.signal.aborted ? "Cancelled" : `The download failed (${error.message})`;
    words.textContent = `${cause}. No file was saved.`;
  }
  if (document.activeElement === cancel) link.focus();
  cancel.remove();
  figures.textContent = "";
  link.removeAttribute("aria-busy");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-export]");
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  if (link.hasAttribute("aria-busy")) return;
  const before = (link.closest(".buttons") || link).nextElementSibling;
  if (before?.classList.contains("waiting")) before.remove();
  runExport(link);
});
