// The chart of scores by layer: drawn from the numbers in the page, read with the pointer or the arrow keys.
(() => {
  const holder = document.getElementById("chart");
  const numbers = document.getElementById("numbers");
  if (!holder || !numbers) return;
  const data = JSON.parse(numbers.textContent);
  const palette = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"];
  const several = data.networks.length > 1;
  const svg = holder.querySelector("svg"), readout = holder.querySelector("output"), keys = holder.querySelector("ul");
  const margin = { left: 52, right: 24, top: 30, bottom: 42 };
  let state = { roi: "", subject: "", network: "" }, lines = [], at = null;

  const make = (tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const shown = (value) => value.toFixed(3).replace("-", "\u2212").replace(/^\u22120\.000$/, "0.000");
  const indices = (names, name) => (name ? [names.indexOf(name)] : names.map((_, k) => k));

  // Mean of each layer over the pairs of ROI and subject that have a score.
  const mean = (network, rois, subjects) =>
    data.networks[network].layers.map((_, layer) => {
      const there = rois.flatMap((r) => subjects.map((s) => data.scores[r][s][network][layer])).filter((v) => v !== null);
      return there.length ? there.reduce((a, b) => a + b, 0) / there.length : null;
    });
  const series = () => {
    const rois = indices(data.rois, state.roi), subjects = indices(data.subjects, state.subject);
    const networks = indices(data.networks.map((n) => n.label), state.network);
    const line = (label, colour, dash, width, network, r, s) => ({
      label, colour, dash, width, network, rois: r, subjects: s, values: mean(network, r, s),
    });
    const dash = (k) => ["", "6 3", "2 3"][Math.floor(k / palette.length) % 3];
    if (networks.length > 1)
      return networks.map((n) => line(data.networks[n].label, data.networks[n].colour, "", 2, n, rois, subjects));
    const n = networks[0];
    if (rois.length > 1) return rois.map((r, k) => line(data.rois[r], palette[k % 7], dash(k), 2, n, [r], subjects));
    const all = line(subjects.length > 1 ? "mean over subjects" : data.subjects[subjects[0]], palette[0], "", 2.5, n, rois, subjects);
    if (subjects.length < 2) return [all];
    return [all, ...subjects.map((s) => line(data.subjects[s], "#6b737b", "", 1, n, rois, [s]))];
  };
  const ticks = (low, high) => {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9; k++) found.push(k * step);
    return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
  };

  const draw = () => {
    const width = Math.max(holder.clientWidth, 260), height = 330;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    svg.replaceChildren();
    const values = lines.flatMap((l) => l.values).filter((v) => v !== null);
    if (!values.length) return;
    let low = Math.min(...values), high = Math.max(...values);
    low = Math.min(0, low);
    high += (high - low || 0.1) * 0.06;
    const longest = Math.max(...lines.map((l) => l.values.length));
    const relative = new Set(lines.map((l) => l.values.length)).size > 1;
    const x = (line, k) => {
      const place = relative ? data.networks[line.network].depths[k] ?? (k + 1) / line.values.length : longest > 1 ? k / (longest - 1) : 0.5;
      return margin.left + place * (width - margin.left - margin.right);
    };
    const y = (v) => margin.top + ((high - v) / (high - low)) * (height - margin.top - margin.bottom);
    const [marks, digits] = ticks(low, high);
    for (const mark of marks) {
      svg.append(make("line", { x1: margin.left, x2: width - margin.right, y1: y(mark), y2: y(mark), stroke: "#e6e8ea" }));
      svg.append(make("text", { x: margin.left - 8, y: y(mark) + 4, "text-anchor": "end" }, mark.toFixed(digits).replace("-", "\u2212")));
    }
    const every = Math.ceil(longest / Math.max(2, Math.floor((width - 80) / 34)));
    for (let k = 0; k < (relative ? 5 : longest); k++) {
      if (!relative && k % every) continue;
      const place = relative ? margin.left + (k / 4) * (width - margin.left - margin.right) : x({}, k);
      svg.append(make("text", { x: place, y: height - margin.bottom + 18, "text-anchor": "middle" }, relative ? `${25 * k} %` : String(k + 1)));
    }
    svg.append(make("text", { x: 0, y: 13 }, "selection score (r)"));
    const foot = { x: (margin.left + width - margin.right) / 2, y: height - 6, "text-anchor": "middle" };
    svg.append(make("text", foot, relative ? "depth of the layer in its network; filters in their order" : "layer, by depth"));
    for (const line of [...lines].reverse()) {
      const points = line.values.map((v, k) => (v === null ? null : [x(line, k), y(v)]));
      line.points = points;
      const path = points.map((p, k) => (p ? `${k && points[k - 1] ? "L" : "M"}${p[0].toFixed(1)} ${p[1].toFixed(1)}` : "")).join("");
      svg.append(make("path", { d: path, fill: "none", stroke: line.colour, "stroke-width": line.width, "stroke-dasharray": line.dash }));
      for (const p of points) if (p && line.width > 1) svg.append(make("circle", { cx: p[0], cy: p[1], r: 2.4, fill: line.colour }));
    }
    svg.append(make("circle", { class: "at", r: 6, fill: "none", stroke: "#1b1f24", "stroke-width": 2, visibility: "hidden" }));
    mark();
  };
  const mark = () => {
    const ring = svg.querySelector(".at"), point = at && lines[at.line]?.points?.[at.layer];
    if (!ring || !point) return;
    ring.setAttribute("cx", point[0]);
    ring.setAttribute("cy", point[1]);
    ring.setAttribute("visibility", "visible");
    const line = lines[at.line], network = data.networks[line.network], layer = network.layers[at.layer];
    const times = line.rois.flatMap((r) => line.subjects.map((s) => data.chosen[r][s]))
      .filter((c) => c && c[0] === line.network && c[1] === at.layer).length;
    const of = line.rois.length * line.subjects.length;
    const picked = times ? (of > 1 ? ` Chosen for ${times} of ${of} pairs of subject and ROI.` : " Chosen.") : "";
    readout.textContent = `${line.label}, layer ${at.layer + 1} of ${network.layers.length} (${layer}): ${shown(line.values[at.layer])}.${picked}`;
  };
  const refresh = () => {
    lines = series();
    at = null;
    readout.textContent = "Point at the chart, or focus it and use the arrow keys.";
    keys.replaceChildren(...lines.map((line) => {
      const item = document.createElement("li"), sample = make("svg", { width: 22, height: 8, "aria-hidden": "true" });
      sample.append(make("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: line.colour, "stroke-width": line.width + 0.5, "stroke-dasharray": line.dash }));
      item.append(sample, line.label);
      return item;
    }));
    if (lines.length > 12) keys.replaceChildren(...[...keys.children].slice(0, 12), `and ${lines.length - 12} more`);
    draw();
  };
  const step = (line, by) => {
    const values = lines[line].values;
    let layer = at ? at.layer : by > 0 ? -1 : values.length;
    do layer += by; while (layer >= 0 && layer < values.length && values[layer] === null);
    if (layer >= 0 && layer < values.length) at = { line, layer };
  };

  holder.hidden = false;
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    let least = Infinity;
    lines.forEach((line, l) => (line.points || []).forEach((p, k) => {
      if (!p) return;
      const distance = (p[0] - event.clientX + box.left) ** 2 + (p[1] - event.clientY + box.top) ** 2;
      if (distance < least) { least = distance; at = { line: l, layer: k }; }
    }));
    mark();
  });
  svg.addEventListener("keydown", (event) => {
    const line = at ? at.line : 0, n = lines.length;
    if (event.key === "ArrowRight") step(line, 1);
    else if (event.key === "ArrowLeft") step(line, -1);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const next = (line + (event.key === "ArrowDown" ? 1 : n - 1)) % n;
      const layer = Math.min(at ? at.layer : 0, lines[next].values.length - 1);
      if (lines[next].values[layer] !== null) at = { line: next, layer };
    } else if (event.key === "Escape") return refresh();
    else return;
    event.preventDefault();
    mark();
  });
  document.addEventListener("picked", (event) => { state = { ...state, ...event.detail }; refresh(); });
  addEventListener("resize", draw);
  refresh();
})();
