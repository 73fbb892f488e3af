// Where one was bound for in MLflow's pages stands behind the #, which no server is sent: it is added to where the
// sign-in leads back to.
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
