// Alerts, as a section of the page. To have it: <script type="module" src="/static/alerts.js"></script> in the page's head.
// It makes its own section before the others, asks /v1/alerts every few seconds, and sets text only.

const EVERY_MS = 5000;
const TOKEN = "edgefleet-token";
const KIND = { open: "bad", acknowledged: "busy", silenced: "idle", resolved: "good" };

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const list = make("div", { class: "cards" });
const count = make("p", { class: "quiet", "aria-live": "polite" });
const section = make("section", { "aria-labelledby": "alerts-title" }, make("h2", { id: "alerts-title" }, "Alerts"), count, list);

async function ask(path, body) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { Accept: "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method: body ? "POST" : "GET", headers, ...(body ? { body: JSON.stringify(body) } : {}) });
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(said?.detail ?? `the server answered ${answer.status}`);
  return said;
}

function button(row, text, path, body) {
  const node = make("button", { type: "button", "data-key": `${path}-${row.id}` }, text);
  node.addEventListener("click", async () => {
    node.disabled = true;
    try {
      await ask(`/v1/alerts/${row.id}/${path}`, body);
      shown = "";
      await turn();
    } catch (error) {
      node.disabled = false;
      count.textContent = error.message;
    }
  });
  return node;
}

function card(row) {
  const where = row.region ?? "the whole fleet";
  const by = row.acknowledged_by ? `In hand of ${row.acknowledged_by}. ` : "";
  return make("article", { class: "card", "aria-label": `${row.rule} in ${where}` },
    make("header", {}, make("h3", {}, where, make("span", { class: "quiet" }, ` · ${row.rule} · ${row.severity}`)),
      make("span", { class: `state ${KIND[row.status] ?? "idle"}` }, row.status)),
    make("p", {}, row.text),
    make("p", { class: "why" }, `Next: ${row.next}`),
    make("p", { class: "quiet" }, `${by}Since ${new Date(row.opened_s * 1000).toLocaleString()}. Evidence: `, make("code", {}, row.evidence)),
    make("p", {}, ...(row.status === "open" ? [button(row, "I take it", "acknowledge", {}), " "] : []),
      ...(row.status === "silenced" ? [] : [button(row, "Silence for an hour", "silence", { seconds: 3600 })])));
}

let shown = "";
async function turn() {
  const rows = await ask("/v1/alerts").catch(() => null);
  if (rows === null) return;
  const key = JSON.stringify(rows);
  if (key === shown) return;
  shown = key;
  const focused = document.activeElement?.dataset?.key;
  count.textContent = rows.length ? `${rows.length} open` : "Nothing needs a person now.";
  list.replaceChildren(...rows.map(card));
  if (focused) list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

async function loop() {
  if (!document.hidden) await turn();
  setTimeout(loop, EVERY_MS);
}

document.querySelector("main")?.prepend(section);
loop();
