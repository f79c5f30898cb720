// The live page: what the server sends replaces the view; a fail may sound. The screen dims only
// where nothing changes, a machine that stands still, and the stream goes on all the same.

const view = document.getElementById("live");
const lost = document.getElementById("live-lost");
const button = document.getElementById("sound");
const KEY = "millsight.sound";
const AGAIN_MS = 2000;

let source;
let timer;
let fails = failsShown();
let sound = localStorage.getItem(KEY) === "on";
let audio;

function failsShown() {
  return Number(document.getElementById("tile").dataset.fails);
}

// Verdict and last frames, as one text: what stands beside them is no reason to light the screen.
function plates() {
  return [...view.querySelectorAll("#tile, .shot img")].map((part) => part.outerHTML).join();
}

function open() {
  clearTimeout(timer);
  source = new EventSource("/live/events");
  source.onmessage = (event) => {
    show(false);
    const before = plates();
    view.innerHTML = event.data;
    if (plates() !== before) document.dispatchEvent(new Event("news"));
    const now = failsShown();
    if (sound && now > fails) beep();
    fails = now;
  };
  // The server was restarted with other settings, or another edition of this page.
  source.addEventListener("edition", (event) => {
    if (event.data !== document.body.dataset.edition) location.reload();
  });
  source.onerror = () => {  // also where the server refuses: then the browser would not try again
    show(true);
    source.close();
    timer = setTimeout(open, AGAIN_MS);
  };
}

function show(isLost) {
  lost.hidden = !isLost;
  view.classList.toggle("lost", isLost);
}

// Two falling tones: a fail is heard without looking.
function beep() {
  audio ??= new AudioContext();
  audio.resume();
  [880, 587].forEach((pitch, i) => {
    const tone = new OscillatorNode(audio, { frequency: pitch, type: "square" });
    const volume = new GainNode(audio, { gain: 0.15 });
    tone.connect(volume).connect(audio.destination);
    tone.start(audio.currentTime + 0.18 * i);
    tone.stop(audio.currentTime + 0.18 * i + 0.15);
  });
  document.dispatchEvent(new CustomEvent("beep"));
}

function draw() {
  button.setAttribute("aria-pressed", String(sound));
  button.querySelector(".label").textContent = sound ? view.dataset.on : view.dataset.off;
}

document.addEventListener("tapped", (event) => {
  if (event.detail.dataset.tap !== "sound") return;
  sound = !sound;
  localStorage.setItem(KEY, sound ? "on" : "off");
  draw();
  if (sound) beep();  // it is heard at once whether it works
});
draw();
open();
