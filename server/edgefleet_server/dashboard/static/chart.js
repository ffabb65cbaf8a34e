// A device's latency over time, as SVG. Points come from the API: {at_s, p50_s, p95_s, requests, release, variant}.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 760, HEIGHT = 250, LEFT = 58, RIGHT = 14, TOP = 24, BOTTOM = 28;

function shape(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// The smallest of 1, 2, 5, 10, … times a power of ten with at most five steps up to `top`.
function stepFor(top) {
  const rough = top / 4, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough) ?? power * 10;
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });

export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const ms = seconds * 1000;
  return ms >= 100 ? `${ms.toFixed(0)} ms` : ms >= 1 ? `${ms.toFixed(1)} ms` : `${ms.toFixed(2)} ms`;
}

// budget: the region's latency budget in seconds, or null.
export function chart(curve, now, budget) {
  const points = curve.points.filter((point) => point.p95_s !== null);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img" });
  const last = points[points.length - 1];
  svg.setAttribute("aria-label", last
    ? `Latency of ${curve.model}: now p50 ${milliseconds(last.p50_s)}, p95 ${milliseconds(last.p95_s)}; the table below has every point`
    : `No request to ${curve.model} was counted yet`);
  if (!last) {
    svg.append(shape("text", { x: WIDTH / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "No request was counted yet"));
    return svg;
  }
  const from = points[0].at_s, to = Math.max(now, from + 10);
  const highest = Math.max(...points.map((point) => point.p95_s));
  // A budget far above what is measured would press the curve flat; then it is only named in the legend.
  const top = Math.max(highest, budget !== null && budget < 4 * highest ? budget : 0) * 1.12;
  const x = (at) => LEFT + ((at - from) / (to - from)) * (WIDTH - LEFT - RIGHT);
  const y = (seconds) => HEIGHT - BOTTOM - (seconds / top) * (HEIGHT - TOP - BOTTOM);
  const step = stepFor(top);
  for (let at = 0; at <= top; at += step) {
    svg.append(shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(at), y2: y(at) }));
    svg.append(shape("text", { x: LEFT - 8, y: y(at) + 4, "text-anchor": "end" }, at === 0 ? "0" : milliseconds(at).replace(".0 ", " ")));
  }
  for (let part = 0; part <= 4; part++) {
    const at = from + ((to - from) * part) / 4;
    const anchor = part === 0 ? "start" : part === 4 ? "end" : "middle";
    svg.append(shape("text", { x: x(at), y: HEIGHT - 8, "text-anchor": anchor }, clock(at)));
  }
  if (budget !== null && budget <= top) {
    svg.append(shape("line", { class: "budget", x1: LEFT, x2: WIDTH - RIGHT, y1: y(budget), y2: y(budget) }));
  }
  let before = null, labelEnd = -Infinity;
  for (const point of points) {
    const name = `${point.release} ${point.variant}`;
    if (name !== before) {
      const at = x(point.at_s);
      svg.append(shape("line", { class: "mark", x1: at, x2: at, y1: TOP - 4, y2: HEIGHT - BOTTOM }));
      const length = name.length * 6.6;
      if (at > labelEnd) {
        const fits = at + length < WIDTH - RIGHT;
        svg.append(shape("text", { x: fits ? at + 3 : WIDTH - RIGHT, y: TOP - 9, "text-anchor": fits ? "start" : "end" }, name));
        labelEnd = at + length;
      }
      before = name;
    }
  }
  for (const which of ["p95", "p50"]) {
    const path = points.map((point, n) => `${n ? "L" : "M"}${x(point.at_s).toFixed(1)} ${y(point[which + "_s"]).toFixed(1)}`).join("");
    svg.append(shape("path", { class: which, d: path }));
    svg.append(shape("circle", { class: which, cx: x(last.at_s), cy: y(last[which + "_s"]), r: 3.5 }));
  }
  return svg;
}
