// django-allauth announces why a passkey did not work; this says it on the page, in words.
"use strict";

document.addEventListener("allauth.error", (event) => {
  const { exception } = event.detail;
  const place = document.getElementById("passkey_error");
  if (!place) return;
  event.preventDefault();
  const isAddress = /^[\d.]+$|^\[/.test(window.location.hostname);
  if (!window.PublicKeyCredential) {
    place.textContent = "Passkeys need https here. Sign in with your password.";
  } else if (isAddress) {
    place.textContent = `Passkeys need a host name, and ${window.location.hostname} is an address. On this machine open http://localhost${window.location.port ? `:${window.location.port}` : ""} instead.`;
  } else if (exception && exception.name === "NotAllowedError") {
    place.textContent = "No passkey was given. Try again, or sign in with your password.";
  } else if (exception && exception.name === "InvalidStateError") {
    place.textContent = "This passkey has been added already.";
  } else {
    place.textContent = "The passkey did not work. Try again, or sign in with your password.";
  }
  place.hidden = false;
  place.scrollIntoView({ block: "nearest" });
});
