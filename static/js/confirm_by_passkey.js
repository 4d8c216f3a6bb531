// "Is it you?" answered by a passkey in the form that asks; without this file, the code beside it does the same.
const place = document.querySelector("[data-passkey=confirm]");

if (place && window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
  const form = place.closest("form");
  const button = place.querySelector("button");
  const said = place.querySelector("[role=status]");
  const say = (words) => {
    said.textContent = words;
    said.hidden = false;
  };
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const options = PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(place.dataset.options));
      const credential = await navigator.credentials.get({ publicKey: options });
      form.elements.passkey.value = JSON.stringify(credential.toJSON());
      form.elements.confirm.required = false;
      const ways = form.querySelectorAll("button:not([type=button])");
      if (ways.length === 1) {
        form.requestSubmit(ways[0]);
      } else {
        say(place.dataset.answered);
      }
    } catch {
      say(place.dataset.silent);
      button.disabled = false;
    }
  });
}
