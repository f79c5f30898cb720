// The keyboard on the glass: letters and digits on as many pages as the panel needs.

const SIGNS = [..."abcdefghijklmnopqrstuvwxyz", " ", ..."0123456789-_"];
const LONGEST = 64;

// The keys of the present page as { label, act }, null for an empty cell. `board` is
// { text, page }, which the keys change; `words` has blank, erase and next-page.
export function keysOf(board, room, words, upper = false) {
  const signs = SIGNS.map((sign) => (upper ? sign.toUpperCase() : sign)).map((sign) => ({
    label: sign === " " ? words.blank : sign,
    act: () => { if (board.text.length < LONGEST) board.text += sign; },
  }));
  const erase = { label: words.erase, act: () => { board.text = board.text.slice(0, -1); } };
  if (signs.length + 1 <= room) return [...signs, erase];
  const more = { label: words["next-page"], act: () => { board.page += 1; } };
  const pages = Math.ceil(signs.length / (room - 2));
  board.page %= pages;
  const here = signs.slice(board.page * (room - 2), (board.page + 1) * (room - 2));
  while (here.length < room - 2) here.push(null);
  return [...here, erase, more];
}
