// A handler of requests in JavaScript: says what it was asked, or asks another and relays the answer.
addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  const url = new URL(request.url);
  if (url.pathname === '/loop') for (;;);
  if (url.pathname === '/relay') return await fetch(url.searchParams.get('to'));
  const body = await request.text();
  return new Response(JSON.stringify({ method: request.method, path: url.pathname + url.search, body }));
}
