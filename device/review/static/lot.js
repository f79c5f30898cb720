// A lot begins: first the part's number is written, then the lot's. Either may stay empty.

import { keysOf } from "./keyboard.js";

const form = document.getElementById("lot");
const words = JSON.parse(form.dataset.texts);
const keys = [...form.querySelectorAll("[data-tap=key]")];
const board = { text: form.elements.part.value, page: 0 };
let asked = "part";

function cells() {
  return keysOf(board, keys.length, words, true);
}

function draw() {
  document.getElementById("asked").textContent = words[asked];
  document.getElementById("typed").textContent = board.text;
  form.querySelector("#save .label").textContent = asked === "part" ? words.next : words.save;
  cells().forEach((cell, i) => {
    keys[i].hidden = !cell;
    if (cell) keys[i].querySelector(".label").textContent = cell.label;
  });
  for (const key of keys.slice(cells().length)) key.hidden = true;
}

document.addEventListener("tapped", (event) => {
  const { tap, cell } = event.detail.dataset;
  if (tap === "key") cells()[cell]?.act();
  if (tap === "save") {
    form.elements[asked].value = board.text.trim();
    if (asked === "lot") {
      form.submit();
      return;
    }
    [asked, board.text, board.page] = ["lot", "", 0];
  }
  draw();
});
draw();
