// MLflow's pages keep their location behind the #, which browsers do not send: this adds it to the address to which
// the sign-in returns.
"use strict";

function placed(next) {
  const isPage = next && next.startsWith("/mlflow/") && !next.includes("#");
  return isPage ? next + window.location.hash : next;
}

for (const field of document.querySelectorAll("input[name=next]")) {
  field.value = placed(field.value);
}
for (const link of document.querySelectorAll("main a[href*='next=']")) {
  const address = new URL(link.href);
  address.searchParams.set("next", placed(address.searchParams.get("next")));
  link.href = address.href;
}
