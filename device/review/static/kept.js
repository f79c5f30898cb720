// The page of names: whose answers wait in this browser until they have logged in again.

import { all } from "./outbox.js";

const title = document.getElementById("who");
const kept = all().filter((tap) => tap.operator !== title.dataset.present);
if (kept.length) {
  title.classList.add("notice");
  title.textContent = kept.length === 1
    ? title.dataset.keptOne
    : title.dataset.kept.replace("{count}", kept.length);
}
for (const button of document.querySelectorAll("button[name=name]")) {
  const own = kept.filter((tap) => tap.operator === button.value).length;
  if (own) button.querySelector(".small").textContent = title.dataset.waiting.replace("{count}", own);
}
