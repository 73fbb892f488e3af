// Shows on the page why a passkey did not work; django-allauth raises the event.
"use strict";

document.addEventListener("allauth.error", (event) => {
  const { exception } = event.detail;
  const place = document.getElementById("passkey_error");
  if (!place) return;
  event.preventDefault();
  const isAddress = /^[\d.]+$|^\[/.test(window.location.hostname);
  if (!window.PublicKeyCredential) {
    place.textContent = "Passkeys require HTTPS. Sign in with your password.";
  } else if (isAddress) {
    place.textContent = `Passkeys require a host name, but ${window.location.hostname} is an IP address. On this machine, open http://localhost${window.location.port ? `:${window.location.port}` : ""} instead.`;
  } else if (exception && exception.name === "NotAllowedError") {
    place.textContent = "No passkey was provided. Try again, or sign in with your password.";
  } else if (exception && exception.name === "InvalidStateError") {
    place.textContent = "This passkey has already been added.";
  } else {
    place.textContent = "The passkey did not work. Try again, or sign in with your password.";
  }
  place.hidden = false;
  place.scrollIntoView({ block: "nearest" });
});
