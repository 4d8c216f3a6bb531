// Says in words when a part of the page could not be refreshed, and spares the portal pages that nobody looks at;
// everything works without this file.
const live = () => document.getElementById("live");

document.addEventListener("htmx:responseError", (event) => {
  const answer = event.detail.xhr;
  const request = answer.getResponseHeader("X-Request-Id");
  const words = live().dataset;
  live().textContent =
    words.failed.replace("{status}", answer.status) + (request ? ` ${words.request.replace("{id}", request)}` : "");
});

document.addEventListener("htmx:sendError", () => {
  live().textContent = live().dataset.unreachable;
});

document.addEventListener("htmx:afterSwap", () => {
  live().textContent = "";
});

// What looks again by itself waits while nobody sees the page; it goes on when somebody does.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.matches('[hx-trigger^="every "]')) event.preventDefault();
});
