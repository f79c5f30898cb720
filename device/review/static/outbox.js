// Taps that the server has not acknowledged yet. They outlive the page: one entry each in the
// browser's storage, delivered in their order, once (the server knows a tap by its id).

const PREFIX = "millsight.tap.";
const sent = new Set();  // ids that a request has carried, whatever became of it

export function add(tap) {
  const number = String(Date.now()).padStart(15, "0");
  localStorage.setItem(`${PREFIX}${number}.${tap.id}`, JSON.stringify(tap));
}

export function all() {
  return Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).sort()
    .map((key) => ({ key, ...JSON.parse(localStorage.getItem(key)) }));
}

export function remove(entry) {
  localStorage.removeItem(entry.key);
  sent.delete(entry.id);
}

export function markSent(entry) {
  sent.add(entry.id);
}

// The last tap of this page that never left it: it can be taken back here.
export function lastUnsent(holder) {
  return all().filter((entry) => entry.holder === holder && !sent.has(entry.id)).at(-1);
}
