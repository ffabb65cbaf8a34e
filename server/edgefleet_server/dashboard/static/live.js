// Keeps a page fresh: the server's live stream says that something changed, and the page's own address is asked again.
// What comes is the server's page, in which everything that devices say is escaped; only <main> is taken from it.

const AT_MOST_EVERY_MS = 2000;
const AT_LEAST_EVERY_MS = 30000; // charts move without an event

const sign = document.getElementById("live");
let last = 0, waiting = null, busy = false;

function say(kind, text) {
  const now = `${kind} ${text}`;
  if (sign.dataset.now === now) return;
  sign.dataset.now = now;
  sign.className = `state ${kind}`;
  sign.textContent = text;
}

// What a person had open, chosen or typed stays.
function keep() {
  const focused = document.activeElement?.dataset?.key ?? null;
  const open = new Set([...document.querySelectorAll("details[open][data-key]")].map((node) => node.dataset.key));
  const scrolled = [...document.querySelectorAll(".scroll")].map((node) => [node.scrollLeft, node.scrollTop]);
  return () => {
    for (const node of document.querySelectorAll("details[data-key]")) if (open.has(node.dataset.key)) node.open = true;
    document.querySelectorAll(".scroll").forEach((node, place) => {
      if (scrolled[place]) [node.scrollLeft, node.scrollTop] = scrolled[place];
    });
    if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  };
}

// Somebody who fills in a form, or has marked text, is not disturbed.
const disturbed = () => document.activeElement?.matches("main input, main select") || String(getSelection()).length > 0;

async function refresh() {
  waiting = null;
  if (busy || document.hidden) return;
  if (disturbed()) return later();
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) return location.reload();
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [old, main] = [document.querySelector("main"), fresh.querySelector("main")];
    if (main && old.textContent !== main.textContent) {
      const again = keep();
      old.replaceChildren(...main.childNodes);
      document.querySelector("nav").replaceWith(fresh.querySelector("nav"));
      again();
    }
    last = Date.now();
  } catch (error) {
    say("bad", `not live: ${error.message}`);
  } finally {
    busy = false;
  }
}

function later() {
  waiting ??= setTimeout(refresh, Math.max(0, last + AT_MOST_EVERY_MS - Date.now()) + 50);
}

function begin() {
  const region = document.body.dataset.region;
  const stream = new EventSource(`/api/v1/live${region ? `?region=${encodeURIComponent(region)}` : ""}`);
  for (const name of ["region", "rollout", "alert", "happened", "gone", "reset"]) stream.addEventListener(name, later);
  stream.addEventListener("ready", () => say("good", "live"));
  stream.addEventListener("reset", () => say("good", "live"));
  stream.onerror = () => {
    say("bad", "not live, trying again");
    if (stream.readyState === EventSource.CLOSED) setTimeout(begin, 5000);
  };
  addEventListener("pagehide", () => stream.close(), { once: true });
}

addEventListener("visibilitychange", later);
setInterval(later, AT_LEAST_EVERY_MS);
last = Date.now();
begin();
