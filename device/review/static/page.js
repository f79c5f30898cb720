// The pages that the server renders: links and forms behave as touch.js says touches do, and the
// screen dims when nobody is here. What a valid tap does is the link's or form's own.

import { listen } from "./touch.js";

listen({
  dimAfter: Number(document.body.dataset.dimAfter),
  patch: () => null,
  tap: (button) => document.dispatchEvent(new CustomEvent("tapped", { detail: button })),
  key: () => {},
  dimmed: (yes) => { document.getElementById("dim").hidden = !yes; },
});
// One form once: a second tap on a slow box is the same intention.
let sent = false;
document.addEventListener("submit", (event) => {
  if (sent) event.preventDefault();
  sent = true;
});
addEventListener("pageshow", () => { sent = false; });
