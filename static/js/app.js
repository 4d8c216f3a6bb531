// Says in words when a part of the page could not be refreshed, and spares the portal pages that nobody looks at;
// everything works without this file.
const live = () => document.getElementById("live");

// htmx 4 has other names for its events than htmx 2, and other details.
const hear = (two, four, listener) => [two, four].forEach((name) => document.addEventListener(name, listener));

hear("htmx:responseError", "htmx:response:error", ({ detail: { xhr, ctx } }) => {
  const status = xhr ? xhr.status : ctx.response.status;
  const request = xhr ? xhr.getResponseHeader("X-Request-Id") : ctx.response.headers.get("X-Request-Id");
  const words = live().dataset;
  live().textContent =
    words.failed.replace("{status}", status) + (request ? ` ${words.request.replace("{id}", request)}` : "");
});

hear("htmx:sendError", "htmx:error", () => {
  live().textContent = live().dataset.unreachable;
});

hear("htmx:afterSwap", "htmx:after:swap", () => {
  live().textContent = "";
});

// What looks again by itself waits while nobody sees the page; it goes on when somebody does.
hear("htmx:beforeRequest", "htmx:before:request", (event) => {
  const asking = event.detail.elt || event.detail.ctx.sourceElement;
  if (document.hidden && asking.matches('[hx-trigger^="every "]')) event.preventDefault();
});
