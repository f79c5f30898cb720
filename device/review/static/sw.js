// A page that is opened while the server is away: a designed screen instead of the browser's own.
// Everything else goes to the server, always.

const CACHE = "millsight-offline";
const FILES = [
  "/offline", "/panel.css", "/static/review.css", "/static/offline.js", "/static/icon.svg",
];

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()),
  );
});
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const opens = request.mode === "navigate";
  const known = FILES.includes(new URL(request.url).pathname);
  if (request.method !== "GET" || !(opens || known)) return;
  event.respondWith(
    fetch(request).catch(() => caches.match(opens ? "/offline" : request, { cacheName: CACHE })),
  );
});
