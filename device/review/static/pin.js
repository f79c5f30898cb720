// The PIN pad: digits go into the form's hidden field, the screen shows as many dots.

import "./page.js";  // first: it refuses what is no tap

const form = document.getElementById("pin");
const done = document.getElementById("done");
const dots = document.getElementById("dots");
const LEAST = 4;
const MOST = 8;

function enter(key) {
  const field = form.elements.pin;
  if (key === "erase") field.value = field.value.slice(0, -1);
  else if (field.value.length < MOST) field.value += key;
  dots.textContent = "●".repeat(field.value.length);
  done.setAttribute("aria-disabled", String(field.value.length < LEAST));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-tap]");
  if (!button || event.defaultPrevented) return;
  if (button.dataset.key) enter(button.dataset.key);
  else if (button.getAttribute("aria-disabled") === "true") event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (/^[0-9]$/.test(event.key)) enter(event.key);
  else if (event.key === "Backspace") enter("erase");
});
enter("erase");  // what the browser filled in again is nobody's
