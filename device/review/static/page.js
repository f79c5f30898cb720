// The pages that the server renders: links and forms behave as touch.js says touches do, and the
// screen dims when nobody is here. What a valid tap does is the link's or form's own.

import { listen, pictureChanged } from "./touch.js";

listen({
  dimAfter: Number(document.body.dataset.dimAfter),
  patch: () => null,
  tap: (button) => document.dispatchEvent(new CustomEvent("tapped", { detail: button })),
  key: () => {},
  dimmed: (yes) => {
    document.getElementById("dim").hidden = !yes;
    document.dispatchEvent(new CustomEvent("dimmed", { detail: yes }));
  },
});
pictureChanged();  // a tap meant for the page before
