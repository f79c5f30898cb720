// Wait until the server is back, then open the page that was wanted.

const AGAIN_MS = 1500;

async function look() {
  try {
    if ((await fetch("/up", { cache: "no-store" })).ok) location.reload();
  } catch {
    // still away
  }
  setTimeout(look, AGAIN_MS);
}
setTimeout(look, AGAIN_MS);
