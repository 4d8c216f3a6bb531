// Asks the device for a passkey and sends its answer as the form; without this file, the page says what else there is.
const form = document.querySelector("form[data-passkey]");
const button = form?.querySelector("button");
const failed = form?.querySelector("[role=alert]");

if (form && window.PublicKeyCredential?.parseCreationOptionsFromJSON) {
  failed.hidden = true;
  button.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    failed.hidden = true;
    try {
      const options = JSON.parse(form.dataset.options);
      const credential =
        form.dataset.passkey === "create"
          ? await navigator.credentials.create({
              publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options),
            })
          : await navigator.credentials.get({
              publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options),
            });
      form.elements.credential.value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch {
      failed.textContent = form.dataset.silent;
      failed.hidden = false;
      button.disabled = false;
    }
  });
}
