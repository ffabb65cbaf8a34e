// Asks /v1/overview once a second and shows it. Whatever a device says is text to this page: only textContent is set.

import { chart, milliseconds } from "./chart.js";

const EVERY_MS = 1000;
const LAST_S = 900;

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const megabytes = (size) => (size === null || size === undefined ? "–" : `${(size / 1e6).toFixed(size < 1e8 ? 1 : 0)} MB`);
const percent = (value) => `${Math.round(value)} %`;

function ago(now, then) {
  if (then === null || then === undefined) return "never";
  const seconds = Math.max(0, now - then);
  for (const [size, word] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${word} ago`;
  }
  return seconds < 3 ? "now" : `${Math.floor(seconds)} s ago`;
}

// What a phase or status means at a glance: a kind (colour and shape) beside its word.
const KIND = {
  proven: "good", probation: "busy", trying: "busy", fetching: "busy", waiting: "busy", failed: "bad", idle: "idle",
  running: "busy", paused: "busy", complete: "good", "gone-back": "bad", superseded: "idle",
  "under way": "busy", away: "busy", offline: "idle", frozen: "idle", "left out": "idle", outside: "idle",
};
const WORD = { "gone-back": "went back" };

const state = (word, text) => make("span", { class: `state ${KIND[word] ?? "idle"}` }, text ?? WORD[word] ?? word);

function table(node, headings, rows, caption) {
  const head = make("thead", {}, make("tr", {}, ...headings.map(([text, kind]) => make("th", { scope: "col", class: kind }, text))));
  node.replaceChildren(make("caption", { hidden: true }, caption), head, make("tbody", {}, ...rows));
}

function cells(headings, values) {
  return values.map((value, column) => make("td", { class: headings[column][1] }, value ?? "–"));
}

// Draws a part of the page again only when what it shows changed, so that focus and selection stay where they are.
const drawn = new Map();
function when(name, facts, draw) {
  const key = JSON.stringify(facts);
  if (drawn.get(name) === key) return;
  drawn.set(name, key);
  const focused = document.activeElement?.dataset?.key;
  const open = new Set([...document.querySelectorAll("details[open][data-key]")].map((node) => node.dataset.key));
  draw();
  for (const node of document.querySelectorAll("details[data-key]")) if (open.has(node.dataset.key)) node.open = true;
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function ages(now) {
  for (const node of document.querySelectorAll("[data-then]")) {
    const text = ago(now, Number(node.dataset.then));
    if (node.textContent !== text) node.textContent = text;
  }
}
const age = (then) => make("span", then === null || then === undefined ? {} : { "data-then": then }, then === null || then === undefined ? "never" : "");

// Summary

function summary(all) {
  const online = all.devices.filter((device) => device.online).length;
  const failing = all.devices.filter((device) => device.models.some((model) => model.phase === "failed")).length;
  const running = all.rollouts.filter((rollout) => rollout.status === "running").length;
  when("summary", [all.fleet, online, all.devices.length, failing, running, all.broker_connected, all.refused], () => {
    byId("fleet").textContent = all.fleet;
    document.title = `EdgeFleet ${all.fleet}`;
    byId("summary").replaceChildren(
      make("b", {}, `${online} of ${all.devices.length}`), " devices online, ",
      make("b", {}, String(running)), ` ${running === 1 ? "rollout" : "rollouts"} under way`,
      failing ? make("span", { class: "bad" }, `, ${failing} ${failing === 1 ? "device" : "devices"} refused a release`) : "",
      all.broker_connected ? "" : make("span", { class: "bad" }, ", no connection to the broker"),
      all.refused ? `, ${all.refused} ${all.refused === 1 ? "message" : "messages"} refused` : "",
    );
  });
}

// Rollouts

function counts(row) {
  const words = [["proven", "proven", "good"], ["under_way", "under way", "busy"], ["failed", "failed", "bad"], ["apart", "counted apart", "idle"], ["outside", "not yet meant", "idle"]];
  return make("ul", { class: "counts" }, ...words.filter(([key]) => row.counts[key]).map(([key, word, kind]) =>
    make("li", {}, make("span", { class: `state ${kind}` }, `${row.counts[key]} ${word}`))));
}

function rollout(row) {
  const stages = row.stages.map((stage) => make("li", { class: stage.state.replace(" ", "-") }, `${stage.percent} % ${stage.state}`));
  const gate = row.stages[row.stage];
  const devices = make("details", { "data-key": `evidence-${row.id}` }, make("summary", {}, "Every device"),
    make("table", {}, make("tbody", {}, ...row.evidence.map((one) =>
      make("tr", {}, make("td", {}, one.device), make("td", {}, state(one.standing)), make("td", {}, one.why))))));
  const moves = make("details", { "data-key": `moves-${row.id}` }, make("summary", {}, `${row.moves.length} ${row.moves.length === 1 ? "move" : "moves"}`),
    make("table", {}, make("tbody", {}, ...row.moves.map((move) =>
      make("tr", {}, make("td", {}, age(move.at_s)), make("td", {}, `${move.kind}, stage ${move.stage + 1}`), make("td", {}, move.why))))));
  return make("article", { class: "card", "aria-label": `${row.release} in ${row.region}` },
    make("header", {}, make("h3", {}, row.region, make("span", { class: "quiet" }, ` · ${row.release}${row.previous ? ` over ${row.previous}` : ""}`)), state(row.status)),
    make("ol", { class: "stages" }, ...stages), counts(row),
    make("p", { class: "why" }, row.why),
    make("p", { class: "why" }, `Gate: at most ${gate.max_failed_percent} % failed, at least ${gate.min_proven_percent} % proven. Began `, age(row.started_s), "."),
    devices, moves);
}

function rollouts(all) {
  when("rollouts", all.rollouts, () => byId("rollouts").replaceChildren(...(all.rollouts.length ? all.rollouts.map(rollout)
    : [make("p", { class: "card empty" }, "No rollout was started yet. See what one would do: edgefleet rollout plan MODEL/NUMBER")])));
}

// Devices

const STUCK = ["waiting", "fetching", "failed"];

// What keeps a device from what is wanted, in its own words; else why it chose what it runs.
function words(device, model) {
  const stuck = [device.alarm?.why ?? null, device.trust_problem ? `trust: ${device.trust_problem}` : null, STUCK.includes(model?.phase) ? model.why : null];
  return stuck.filter(Boolean).join("; ") || model?.chosen_why || null;
}

function now(device, model) {
  if (device.alarm) return state("failed", "quarantine");
  if (device.frozen) return state("failed", model ? `${model.phase}, frozen` : "frozen");
  if (device.trust_problem) return state("failed", model ? `${model.phase}, stuck` : "stuck");
  return model ? state(model.phase) : state("idle", device.hardware_class ? "idle" : "unknown");
}

const HEADINGS = [["Device"], ["Region"], ["Hardware"], ["Runs", "wrap"], ["State"], ["Why", "words"], ["p50", "number"], ["p95", "number"], ["Memory", "number"], ["Temp.", "number"], ["Power", "wrap"], ["Seen", "wrap"]];

function power(device) {
  if (device.power_source === null) return "–";
  if (device.power_source === "mains") return "mains";
  return `${percent(device.battery_percent)}${device.battery_charging ? ", charging" : ""}`;
}

let chosen = new URLSearchParams(location.search).get("device");

function choose(id) {
  chosen = chosen === id ? null : id;
  const query = new URLSearchParams(location.search);
  if (chosen) query.set("device", chosen); else query.delete("device");
  history.replaceState(null, "", `?${query}`);
  drawn.delete("devices");
  turn();
}

// Breaks between these and not within one.
const whole = (text) => make("span", { class: "whole" }, text);

function deviceRows(device) {
  return (device.models.length ? device.models : [null]).map((model, n) => {
    const button = make("button", { type: "button", "data-key": `device-${device.id}`, "aria-pressed": chosen === device.id ? "true" : "false" }, device.id);
    const row = make("tr", { class: `pick ${chosen === device.id ? "on" : ""}` }, ...cells(HEADINGS, [
      n ? "" : button, device.region, device.hardware_class,
      model?.release ? make("span", {}, whole(model.release), " ", whole(model.variant)) : null,
      now(device, model), words(device, model),
      milliseconds(model?.latency_p50_s), milliseconds(model?.latency_p95_s), megabytes(model?.memory_bytes),
      device.temperature_c === null ? null : `${device.temperature_c.toFixed(0)} °C`, power(device),
      device.online ? state("proven", "online") : make("span", {}, state("offline"), " ", age(device.last_seen_s)),
    ]));
    row.addEventListener("click", () => choose(device.id));
    return row;
  });
}

function devices(all) {
  const facts = all.devices.map((device) => ({ ...device, last_seen_s: device.online ? 0 : device.last_seen_s }));
  when("devices", [facts, chosen], () => {
    if (all.devices.length) return table(byId("devices"), HEADINGS, all.devices.flatMap(deviceRows), "Devices");
    return byId("devices").replaceChildren(make("tbody", {}, make("tr", {}, make("td", { class: "words" }, "No device was heard of yet. A device shows itself once its agent reaches the broker."))));
  });
}

// One device

function facts(device, model) {
  const rows = [
    ["Runs", model?.release ? `${model.release} ${model.variant}, ${model.proven ? "proven" : "on probation"}` : "nothing yet"],
    ["Now", model ? `${model.phase}: ${model.why}` : null],
    ["Chosen", model?.chosen ? `${model.chosen}: ${model.chosen_why}` : null],
    ["Before", model?.previous], ["Board", device.board], ["Agent", device.agent_version],
    ["Tags", device.tags.join(", ")], ["Received", device.bytes_received ? megabytes(device.bytes_received) : null],
    ["Agent memory", device.agent_memory_bytes === null ? null : megabytes(device.agent_memory_bytes)],
    ["Throttled", device.throttled === null ? null : device.throttled.join(", ") || "no"],
    ["Power", power(device)],
    ["Trust", device.trust_problem],
    ["Limits", Object.entries(device.limits_held).map(([name, how]) => `${name}: ${how}`).join("; ")],
    ...(model?.failures ?? []).map((one) => ["Failed here", `${one.release} ${one.variant} in ${one.stage}: ${one.reason}`]),
  ];
  return make("dl", {}, ...rows.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function curveTable(curve) {
  const heads = ["Time", "p50", "p95", "Requests", "Errors", "Release"];
  return make("details", { "data-key": `curve-${curve.model}` }, make("summary", {}, "As a table"),
    make("div", { class: "scroll tall", tabindex: "0" }, make("table", {},
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...[...curve.points].reverse().map((point) => make("tr", {},
        ...[new Date(point.at_s * 1000).toLocaleTimeString([], { hour12: false }), milliseconds(point.p50_s), milliseconds(point.p95_s), point.requests, point.errors, `${point.release} ${point.variant}`]
          .map((text) => make("td", {}, String(text)))))))));
}

async function one(all) {
  const device = all.devices.find((row) => row.id === chosen);
  byId("one").hidden = !device;
  if (!device) return;
  const latency = await ask(`/v1/devices/${encodeURIComponent(device.id)}/latency?last_s=${LAST_S}`);
  const budgets = Object.fromEntries(all.rollouts.filter((row) => row.region === device.region).map((row) => [row.model, row.policy.latency_budget_s ?? null]));
  when("one", [latency.models, { ...device, last_seen_s: 0 }, Math.floor(all.now_s / 5)], () => {
    byId("one-title").replaceChildren(device.id, make("span", { class: "quiet" }, ` · ${device.region ?? "no region yet"} · ${device.hardware_class ?? "unknown hardware"}`));
    const curves = latency.models.length ? latency.models : [{ model: device.models[0]?.model ?? "the model", points: [] }];
    byId("one-body").replaceChildren(
      make("div", {}, ...curves.map((curve) => {
        const budget = budgets[curve.model] ?? null;
        return make("div", { class: "card" }, make("h3", {}, `Latency of ${curve.model}`, make("span", { class: "quiet" }, " · last 15 minutes")),
          chart(curve, all.now_s, budget),
          make("ul", { class: "legend" }, make("li", { class: "p50" }, make("i"), "p50"), make("li", { class: "p95" }, make("i"), "p95"),
            budget === null ? null : make("li", { class: "budget" }, make("i"), `budget ${milliseconds(budget)}`)),
          curveTable(curve));
      })),
      make("div", { class: "card" }, facts(device, device.models[0])));
  });
}

// Events

const EVENT_HEADINGS = [["When"], ["Device"], ["What"], ["Release"], ["In its words", "words wide"]];
const EVENT_KIND = (kind) => (/fail|refus|fell|crash|no-space|problem|cloned/.test(kind) ? "bad" : /proven|activated/.test(kind) ? "good" : "idle");

function events(all) {
  when("events", all.events, () => {
    if (!all.events.length) return byId("events").replaceChildren(make("tbody", {}, make("tr", {}, make("td", { class: "words" }, "Nothing has happened yet."))));
    return table(byId("events"), EVENT_HEADINGS, all.events.map((event) => make("tr", {}, ...cells(EVENT_HEADINGS, [
      age(event.received_s), event.device, make("span", { class: `state ${EVENT_KIND(event.kind)}` }, event.kind),
      [event.release, event.variant].filter(Boolean).join(" ") || null, event.text,
    ]))), "Events");
  });
}

// The loop

// A token lives as long as this tab, and no page of another site can read it. The page itself holds nothing, so it needs none.
const TOKEN = "edgefleet-token";

async function ask(path) {
  const token = sessionStorage.getItem(TOKEN);
  const answer = await fetch(path, { headers: { Accept: "application/json", ...(token ? { Authorization: `Bearer ${token}` } : {}) } });
  if (answer.status === 401) {
    const why = (await answer.json().catch(() => null))?.detail;
    askForToken(token ? why : null);
    throw new Error("it asks for a token");
  }
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  byId("door").hidden = true;
  return answer.json();
}

function askForToken(why) {
  sessionStorage.removeItem(TOKEN);
  byId("door-why").textContent = why ?? "";
  if (!byId("door").hidden) return;
  byId("door").hidden = false;
  byId("token").focus();
}

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId("token").value.trim());
  byId("token").value = "";
  turn();
});

async function turn() {
  try {
    const all = await ask("/v1/overview");
    summary(all);
    rollouts(all);
    devices(all);
    events(all);
    await one(all);
    ages(all.now_s);
  } catch (error) {
    drawn.delete("summary");
    if (!byId("door").hidden) return byId("summary").replaceChildren("This server asks for a token.");
    byId("summary").replaceChildren(make("span", { class: "bad" }, `The server does not answer (${error.message}); what is below may be old. Trying again…`));
  }
}

async function loop() {
  if (!document.hidden) await turn();
  setTimeout(loop, EVERY_MS);
}
loop();
