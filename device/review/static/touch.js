// Touches as gloves make them: a tap is one finger going down and up on one button. Nothing counts
// just after the picture changed, with a second finger on the glass, or on a dimmed screen.

const QUIET_MS = 400;   // a tap meant for the picture before
const WAKE_MS = 1000;   // a touch that woke the screen, and its echo

let quietUntil = 0;
let press = null;       // { button, patch } that the finger went down on
let spoiled = false;    // more than one finger since the glass was last free
let dimTimer;
let quietTimer;
const fingers = new Set();

// While touches count for nothing the body says so in `data-quiet`, from the first byte of the page.
function quieten(ms) {
  quietUntil = Math.max(quietUntil, performance.now() + ms);
  document.body.dataset.quiet = "";
  clearTimeout(quietTimer);
  quietTimer = setTimeout(hearAgain, quietUntil - performance.now());
}

function hearAgain() {
  const left = quietUntil - performance.now();
  if (left > 0) quietTimer = setTimeout(hearAgain, left);
  else delete document.body.dataset.quiet;
}

export function pictureChanged() {
  quieten(QUIET_MS);
  press = null;
}

// patch(): the patch on the screen; tap(button, patch), key(name), dimmed(yes): what happened.
export function listen({ patch, tap, key, dimmed, dimAfter }) {
  let dark = false;

  function stayAwake() {
    clearTimeout(dimTimer);
    dimTimer = setTimeout(() => { dark = true; dimmed(true); }, dimAfter * 1000);
  }

  function wakes() {
    stayAwake();
    if (!dark) return false;
    dark = false;
    quieten(WAKE_MS);
    dimmed(false);
    return true;
  }
  document.addEventListener("news", wakes);  // what must be seen whether or not somebody touches

  document.addEventListener("pointerdown", (event) => {
    press = null;
    if (wakes()) return;
    fingers.add(event.pointerId);
    spoiled = fingers.size > 1 || (spoiled && fingers.size > 0 && !event.isPrimary);
    const button = event.target.closest("[data-tap]");
    if (button && !spoiled && performance.now() >= quietUntil) press = { button, patch: patch() };
  }, true);
  for (const end of ["pointerup", "pointercancel"]) {
    document.addEventListener(end, (event) => fingers.delete(event.pointerId), true);
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-tap]");
    if (!button) return;
    const byKey = event.detail === 0;       // Enter or Space on a button in focus
    const valid = byKey
      ? performance.now() >= quietUntil
      : press && press.button === button && !spoiled;
    if (valid) tap(button, byKey ? patch() : press.patch);
    else event.preventDefault();            // neither does its link or form go on
    press = null;
  });
  document.addEventListener("keydown", (event) => {
    if (wakes() || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (performance.now() >= quietUntil) key(event.key.toLowerCase());
  });
  document.addEventListener("contextmenu", (event) => event.preventDefault());
  stayAwake();
  pictureChanged();  // a tap meant for the page before
  // Only there over https and on this machine itself; another edition fetches its screen anew.
  navigator.serviceWorker?.register(`/sw.js?${document.body.dataset.edition}`).catch(() => {});
}
