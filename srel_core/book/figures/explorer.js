// The explorer (explorer.py): which predictions one training step on one image moves. `root` is its
// figure, `data` what Explored.for_script gives, with the names of rules and divergences.
function srelExplorer(root, data) {
  const [nSteps, nRules, nDivergences, nImages] = data.sizes;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const all = (selector) => [...root.querySelectorAll(selector)];
  const tiles = all("[role=radio]"), marks = all("[data-part=order] > *"), slider = part("step");
  const state = { step: data.start[0], sample: data.start[1], rule: 0, divergence: 0 };

  // See three_digits.py.
  function unpacked({ lowest, codes }) {
    const bytes = Uint8Array.from(atob(codes), (letter) => letter.charCodeAt(0));
    const numbers = new DataView(bytes.buffer);
    return (index) => {
      const code = numbers.getUint16(2 * index, true), k = Math.floor((code - 2) / 900);
      return code < 2 ? (code ? 0 : NaN) : Number(`${100 + ((code - 2) % 900)}e${lowest + k}`);
    };
  }
  const sRelAt = unpacked(data.sRel), ownAt = unpacked(data.own), medianAt = unpacked(data.medians);
  const cell = () => (state.step * nRules + state.rule) * nDivergences + state.divergence;
  const sRel = (probe) => sRelAt((cell() * nImages + probe) * nImages + state.sample);
  const median = (kind) =>
    medianAt((kind * nSteps * nRules * nDivergences + cell()) * nImages + state.sample);
  const auc = (step, rule) => data.auc[(step * nRules + rule) * nDivergences + state.divergence];

  const upper = (n) => [...String(n)].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d] ?? "⁻").join("");
  function shown(value, digits = 3) {
    if (Number.isNaN(value)) return "not defined";
    if (value === 0 || (value >= 0.001 && value < 10000)) return String(+value.toPrecision(digits));
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    return `${mantissa} × 10${upper(+exponent)}`;
  }
  const nameOf = (image) => data.names[data.classes[image]];
  const safe = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const isSame = (image) => data.classes[image] === data.classes[state.sample];

  // The farthest image is bright; a hundredth of that is dark, or a tenth by a norm, which is of
  // first order in the change where a divergence is of second.
  function light(value, farthest) {
    const decades = data.divergences[state.divergence].decades;
    return value > 0 ? Math.max(0, 1 + Math.log10(value / farthest) / decades) : 0;
  }

  function draw() {
    const values = tiles.map((_, image) => sRel(image));
    const others = tiles.map((_, image) => image).filter((image) => image !== state.sample);
    others.sort((a, b) => (values[b] || 0) - (values[a] || 0) || a - b);
    drawTiles(values, others);
    drawOrder(values, others);
    drawTime();
    say();
    fillTable(values, others);
  }

  function drawTiles(values, others) {
    tiles.forEach((tile, image) => {
      const picked = image === state.sample, rank = others.indexOf(image) + 1;
      tile.setAttribute("aria-checked", picked);
      tile.tabIndex = picked ? 0 : -1;
      const times = `${shown(values[image])} times as far as the picked image`;
      const text = picked ? "picked" : `moved ${times}, number ${rank} of ${others.length}`;
      tile.setAttribute("aria-label", `${nameOf(image)}, image ${image + 1}: ${text}`);
      tile.title = picked ? "The step is made on this image" : `Moved ${times}`;
      tile.dataset.kind = picked ? "picked" : isSame(image) ? "same" : "other";
      tile.dataset.value = values[image];
      tile.style.setProperty("--light", picked ? 1 : light(values[image], values[others[0]]));
    });
  }

  function drawOrder(values, others) {
    const reach = data.reach[state.step][state.divergence];
    marks.forEach((mark, image) => {
      const rank = others.indexOf(image), value = values[image];
      mark.hidden = rank < 0;
      mark.dataset.kind = isSame(image) ? "same" : "other";
      mark.title = `${nameOf(image)}: ${shown(value)}`;
      const height = value > 0 ? Math.log10(value) / reach : value === 0 ? -1 : 0;
      mark.style.setProperty("--rank", Math.max(rank, 0));
      mark.style.setProperty("--height", Math.max(-1, Math.min(1, height)));
    });
    const tick = Math.floor(reach) || Math.log10(3);
    all("[data-part=scale] > *").forEach((label, i) => {
      const power = (1 - i) * tick;
      label.textContent =
        `${Math.abs(power) < 4 ? shown(10 ** power, 1) : `10${upper(power)}`} ×`;
      label.style.setProperty("--height", ((1 - i) * tick) / reach);
    });
  }

  function drawTime() {
    // The slider's handle is 16 pixels wide, so that its middle never reaches the ends.
    const x = (step) => `calc(8px + (100% - 16px) * ${step / (nSteps - 1)})`;
    all("[data-part=curve]").forEach((curve, rule) => {
      const points = data.steps.map((_, step) =>
        `${(100 * step) / (nSteps - 1)} ${100 * (1 - auc(step, rule))}`);
      curve.setAttribute("d", `M${points.join("L")}`);
      curve.classList.toggle("srel-chosen", rule === state.rule);
    });
    part("now").style.left = x(state.step);
    part("now").style.setProperty("--top", 1 - auc(state.step, state.rule));
    const when = `step ${data.steps[state.step]}, epoch ${data.epochs[state.step]}`;
    part("when").textContent = when;
    slider.value = state.step;
    slider.setAttribute("aria-valuetext", when);
  }

  function say() {
    const own = ownAt(cell() * nImages + state.sample), name = safe(nameOf(state.sample));
    const rule = data.rules[state.rule], divergence = data.divergences[state.divergence];
    const wins = data.wins[cell() * nImages + state.sample] / 2, pairs = data.pairs[state.sample];
    const mean = auc(state.step, state.rule);
    part("said").innerHTML = own > 0
      ? `<b>${rule.article} on this ${name}</b> moves <b class="srel-same">other ${name}s</b> ` +
        `farther than <b class="srel-other">other classes</b> in <b>${wins} of ${pairs}</b> ` +
        `comparisons. The median ${name} moves <b>${shown(median(0), 2)}</b> times as far as this ` +
        `image itself, the median of other classes <b>${shown(median(1), 2)}</b> times.`
      : `<b>${rule.article} on this ${name}</b> does not change its own prediction: S_rel is not ` +
        `defined here.`;
    part("mean").textContent = `${(100 * mean).toFixed(0)} %`;
    part("own").textContent = `${divergence.symbol} ${shown(own)}`;
  }

  function fillTable(values, others) {
    const body = part("numbers"), row = (image) =>
      `<tr><td>${safe(nameOf(image))}</td><td>${image + 1}</td><td>${shown(values[image])}</td></tr>`;
    body.innerHTML = others.map(row).join("");
  }

  function pick(image) {
    state.sample = image;
    draw();
  }
  const columns = () =>
    tiles.filter((tile) => tile.offsetTop === tiles[0].offsetTop).length;
  tiles.forEach((tile, image) => {
    tile.addEventListener("click", () => pick(image));
    tile.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
      const ends = { Home: 0, End: nImages - 1 };
      const wanted = event.key in moves ? image + moves[event.key] : ends[event.key];
      if (wanted === undefined) return;
      event.preventDefault();
      if (!tiles[wanted]) return;
      pick(wanted);
      tiles[wanted].focus();
    });
  });
  for (const what of ["rule", "divergence"]) {
    const inputs = [...part(what).querySelectorAll("input")];
    const name = `srel-${what}-${document.querySelectorAll("figure").length}-${Math.random()}`;
    inputs.forEach((input, i) => {
      input.name = name;
      input.checked = i === 0;
      input.addEventListener("change", () => { state[what] = i; draw(); });
    });
  }
  slider.addEventListener("input", () => { state.step = Number(slider.value); draw(); });
  draw();
}
