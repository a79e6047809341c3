/** What makes the forms nicer; all of them work without it. */

for (const button of document.querySelectorAll('[data-reveal]')) {
  const input = document.getElementById(button.dataset.reveal);
  const reveal = (shown) => {
    input.type = shown ? 'text' : 'password';
    button.textContent = shown ? button.dataset.hide : button.dataset.show;
  };
  button.hidden = false;
  button.addEventListener('click', () => {
    reveal(input.type === 'password');
    input.focus();
  });
  // Browsers offer again what was sent from a text field, but not what was sent from a password field.
  input.form.addEventListener('submit', () => reveal(false));
}

for (const button of document.querySelectorAll('[data-copy]')) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = button.dataset.done;
  });
}

/** A second click while the answer is on its way sends nothing. */
for (const form of document.forms) {
  form.addEventListener('submit', (event) => {
    if (form.getAttribute('aria-busy') === 'true') event.preventDefault();
    form.setAttribute('aria-busy', 'true');
  });
}

/** What only carries something on. Nothing that fetches a link without showing it runs this. */
document.querySelector('form[data-autosubmit]')?.requestSubmit();

/** The back button brings pages back as they were left. */
addEventListener('pageshow', () => {
  for (const form of document.forms) form.removeAttribute('aria-busy');
});
