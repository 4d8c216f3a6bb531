// Keys of the review queue: j and k move, a approves, h holds, ? lists them. Everything works without this file.
const queue = document.querySelector("form[data-shortcuts]");
const help = document.getElementById("shortcuts-help");
const opener = document.getElementById("shortcuts-open");
const boxes = queue ? [...queue.querySelectorAll("input[type=checkbox][name=item]")] : [];
const place = queue ? `queue ${queue.dataset.shortcuts}` : "";

const isTyping = (element) => element.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
const at = () => boxes.indexOf(document.activeElement);

const goTo = (index) => boxes[Math.max(0, Math.min(index, boxes.length - 1))]?.focus();

// Whoever has chosen nothing means the organization they are at. Says whether anything is chosen now.
const choose = () => {
  if (!boxes.some((box) => box.checked) && at() >= 0) document.activeElement.checked = true;
  return boxes.some((box) => box.checked);
};

const press = (step) => {
  sessionStorage.setItem(place, String(Math.max(at(), 0)));
  queue.requestSubmit(queue.querySelector(`button[name=step][value=${step}]`));
};

const actions = {
  j: () => goTo(at() + 1),
  k: () => goTo(at() - 1),
  a: () => choose() && press("approve"),
  h: () => choose() && document.getElementById("reason").focus(),
  "?": () => help.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help?.open || !queue) return;
  // In the reason's field Enter holds; the form's first button would approve.
  if (event.key === "Enter" && event.target.id === "reason") {
    event.preventDefault();
    press("hold");
    return;
  }
  if (isTyping(event.target) || !Object.hasOwn(actions, event.key)) return;
  event.preventDefault();
  actions[event.key]();
});

if (queue && opener) {
  opener.hidden = false;
  opener.addEventListener("click", () => help.showModal());
  // After a step, on with the organization that has moved up to the same place.
  const before = sessionStorage.getItem(place);
  sessionStorage.removeItem(place);
  if (before !== null) goTo(Number(before));
}
