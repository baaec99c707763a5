"use strict";
// What the page does: its table sorts, its molecules turn. All that it shows comes from the JSON in #data, and goes into the page
// as text alone.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  document.documentElement.classList.add("js");

  /** Return a new element with text or other elements in it. */
  function make(name, properties, ...content) {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...content);
    return element;
  }

  /** Return the parts of a sum formula, its numbers as subscripts. */
  function formula(text) {
    return text.split(/(\d+)/).filter(Boolean).map((part) => (/\d/.test(part) ? make("sub", {}, part) : part));
  }

  // The table

  const rows = document.querySelector("#table tbody.results");
  for (const [column, heading] of document.querySelectorAll("#table thead th").entries()) {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const key = (row) => row.cells[column].dataset.value;
      const words = [...rows.rows].some((row) => key(row) && isNaN(key(row)));
      // The best first; names from the first letter on.
      const again = heading.getAttribute("aria-sort");
      const up = again ? again === "descending" : words;
      const compare = (a, b) => (words ? a.localeCompare(b, "en", { numeric: true }) : a - b) * (up ? 1 : -1);
      const sorted = [...rows.rows].sort((a, b) => !key(a) - !key(b) || (key(a) ? compare(key(a), key(b)) : 0));
      for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.append(...sorted);
    });
  }

  // Small pictures, drawn from the back to the front

  function paint(canvas, molecule, turn = [1, 0, 0, 0, 1, 0, 0, 0, 1]) {
    const size = canvas.clientWidth || 104, density = window.devicePixelRatio || 1;
    canvas.width = canvas.height = size * density;
    const pen = canvas.getContext("2d");
    const points = molecule.elements.map((_, atom) => {
      const [x, y, z] = molecule.positions.slice(3 * atom, 3 * atom + 3);
      return [0, 3, 6].map((row) => turn[row] * x + turn[row + 1] * y + turn[row + 2] * z);
    });
    const reach = Math.max(3, ...points.map(([x, y]) => Math.max(Math.abs(x), Math.abs(y)))) + 0.6;
    const scale = canvas.width / 2 / reach, middle = canvas.width / 2;
    const place = ([x, y]) => [middle + scale * x, middle - scale * y];
    const layers = [];
    for (let bond = 0; bond < molecule.bonds.length; bond += 3) {
      const [first, second, order] = molecule.bonds.slice(bond, bond + 3);
      const [a, b] = [place(points[first]), place(points[second])];
      const length = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
      const aside = [(a[1] - b[1]) / length, (b[0] - a[0]) / length];
      layers.push([(points[first][2] + points[second][2]) / 2, () => {
        pen.strokeStyle = "#8c8c8c";
        pen.lineWidth = scale * [0, 0.2, 0.13, 0.1][order];
        for (let line = 0; line < order; line++) {
          const shift = scale * (line - (order - 1) / 2) * 0.24;
          pen.beginPath();
          pen.moveTo(a[0] + shift * aside[0], a[1] + shift * aside[1]);
          pen.lineTo(b[0] + shift * aside[0], b[1] + shift * aside[1]);
          pen.stroke();
        }
      }]);
    }
    for (const [atom, symbol] of molecule.elements.entries()) {
      const { colour, radius } = data.elements[symbol], [x, y] = place(points[atom]), r = scale * radius;
      layers.push([points[atom][2], () => {
        const shade = pen.createRadialGradient(x - 0.35 * r, y - 0.4 * r, 0.1 * r, x, y, r);
        shade.addColorStop(0, "#ffffff");
        shade.addColorStop(0.35, colour);
        shade.addColorStop(1, colour);
        pen.fillStyle = shade;
        pen.strokeStyle = "rgba(0, 0, 0, 0.45)";
        pen.lineWidth = density * 0.7;
        pen.beginPath();
        pen.arc(x, y, r, 0, 2 * Math.PI);
        pen.fill();
        pen.stroke();
        if (molecule.unstable.includes(atom)) {
          pen.strokeStyle = data.alert;
          pen.lineWidth = density * 1.6;
          pen.beginPath();
          pen.arc(x, y, r + 0.15 * scale, 0, 2 * Math.PI);
          pen.stroke();
        }
      }]);
    }
    layers.sort((a, b) => a[0] - b[0]).forEach(([, draw]) => draw());
  }

  // A view in 3D: by 3Dmol.js, or a picture that turns where there is no WebGL

  const DEGREES = 15;
  const TURNS = { ArrowLeft: ["y", -DEGREES], ArrowRight: ["y", DEGREES], ArrowUp: ["x", -DEGREES], ArrowDown: ["x", DEGREES] };
  const ZOOMS = { "+": 1.25, "=": 1.25, "-": 0.8 };

  /** What draws in 3D: the name of the graphics processor or of a program that stands in for it; null if nothing does. */
  const renderer = (() => {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("webgl2") || canvas.getContext("webgl");
    if (!context) return null;
    const names = context.getExtension("WEBGL_debug_renderer_info");
    return names ? context.getParameter(names.UNMASKED_RENDERER_WEBGL) : "";
  })();

  function flatView(element) {
    const canvas = make("canvas", {}), unit = [1, 0, 0, 0, 1, 0, 0, 0, 1];
    canvas.style.cssText = "display: block; height: 100%; aspect-ratio: 1; margin: auto; max-width: 100%";
    element.append(canvas);
    let shown = null, turn = unit;
    const draw = () => shown && paint(canvas, shown, turn);
    return {
      show: (molecule) => { shown = molecule; draw(); },
      names: () => {}, zoom: () => {}, spin: () => {}, fit: () => {},
      reset: () => { turn = unit; draw(); },
      turn: (axis, degrees) => {
        const c = Math.cos(degrees * Math.PI / 180), s = Math.sin(degrees * Math.PI / 180);
        const by = axis === "x" ? [1, 0, 0, 0, c, -s, 0, s, c] : [c, 0, s, 0, 1, 0, -s, 0, c];
        turn = by.map((_, i) => [0, 1, 2].reduce((sum, k) => sum + by[3 * Math.floor(i / 3) + k] * turn[3 * k + i % 3], 0));
        draw();
      },
    };
  }

  function solidView(element) {
    const paper = () => getComputedStyle(element).backgroundColor;
    // Smooth edges take a program that stands in for a graphics processor three times as long.
    const antialias = !/swiftshader|llvmpipe|softpipe|basic render/i.test(renderer);
    const viewer = $3Dmol.createViewer(element, { backgroundColor: paper(), antialias });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => viewer.setBackgroundColor(paper()));
    viewer.getCanvas().setAttribute("tabindex", "-1");
    let shown = null, named = true;
    const point = (atom) => ({ x: shown.positions[3 * atom], y: shown.positions[3 * atom + 1], z: shown.positions[3 * atom + 2] });
    function draw() {
      viewer.removeAllModels();
      viewer.removeAllShapes();
      viewer.removeAllLabels();
      const atoms = shown.elements.map((elem, index) => ({ elem, index, serial: index, ...point(index), bonds: [], bondOrder: [] }));
      for (let bond = 0; bond < shown.bonds.length; bond += 3) {
        const [first, second, order] = shown.bonds.slice(bond, bond + 3);
        atoms[first].bonds.push(second), atoms[first].bondOrder.push(order);
        atoms[second].bonds.push(first), atoms[second].bondOrder.push(order);
      }
      viewer.addModel().addAtoms(atoms);
      for (const [elem, { colour, radius }] of Object.entries(data.elements)) {
        viewer.setStyle({ elem }, { stick: { radius: 0.12, color: "#9a9a9a" }, sphere: { radius, color: colour } });
      }
      for (const atom of shown.unstable) {
        const radius = data.elements[shown.elements[atom]].radius + 0.25;
        viewer.addSphere({ center: point(atom), radius, color: data.alert, opacity: 0.5 });
        if (named) {
          viewer.addLabel(`${shown.elements[atom]}${atom + 1}`, {
            position: point(atom), inFront: true, fontSize: 13, fontColor: "white", backgroundColor: "#7a0f14", backgroundOpacity: 0.85,
            alignment: "bottomLeft", screenOffset: { x: 8, y: -8 },
          });
        }
      }
    }
    return {
      show: (molecule, keep) => {
        shown = molecule;
        draw();
        if (!keep) viewer.zoomTo();
        viewer.render();
      },
      names: (on) => { named = on; if (shown) { draw(); viewer.render(); } },
      zoom: (factor) => { viewer.zoom(factor); viewer.render(); },
      spin: (on) => viewer.spin(on && "y"),
      turn: (axis, degrees) => { viewer.rotate(degrees, axis); viewer.render(); },
      reset: () => { viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]); viewer.zoomTo(); viewer.render(); },
      fit: (factor) => { viewer.zoomTo(); viewer.zoom(factor); viewer.render(); },
    };
  }

  function view(element) {
    const made = (renderer === null ? flatView : solidView)(element);
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (TURNS[event.key]) made.turn(...TURNS[event.key]);
      else if (ZOOMS[event.key]) made.zoom(ZOOMS[event.key]);
      else return;
      event.preventDefault();
    });
    element.addEventListener("mousedown", () => element.focus());
    // The wheel scrolls the page as anywhere else, until the view is selected.
    element.addEventListener("wheel", (event) => document.activeElement === element || event.stopPropagation(), true);
    return made;
  }

  // The gallery

  const gallery = view(at("viewer"));
  if (renderer === null) at("viewer-help").textContent = "This browser has no WebGL: the arrow keys turn a flat picture.";
  const KINDS = {
    all: [() => true, (one) => one.total],
    stable: [(molecule) => !molecule.unstable.length, (one) => one.stable],
    unstable: [(molecule) => molecule.unstable.length > 0, (one) => one.total - one.stable],
    valid: [(molecule) => molecule.smiles !== null, (one) => one.valid],
  };
  const words = { stable: "stable", unstable: "not stable", valid: "connected and valid" };
  const number = (value) => value.toLocaleString("en");
  const run = () => data.runs[at("run").selectedIndex];
  const sampler = () => run().samplers[at("sampler").selectedIndex];

  function details(molecule) {
    const wrong = molecule.problems.length, atoms = molecule.elements.length;
    const lines = [
      make("h3", {}, `${run().name}, ${sampler().name}: molecule ${number(molecule.number)}`),
      make("p", {}, ...formula(molecule.formula), `, ${atoms} atoms`),
    ];
    if (wrong) {
      lines.push(make("p", { className: "wrong" }, `✗ Not stable: ${wrong} of ${atoms} atoms`));
      lines.push(make("ul", {}, ...molecule.problems.map((problem) => make("li", {}, problem))));
    } else {
      lines.push(make("p", { className: "right" }, "✓ Stable: every atom has its valence"));
    }
    if (molecule.smiles !== null) {
      lines.push(make("p", {}, make("span", { className: "right" }, "✓ Connected and valid. "), "SMILES ", make("code", {}, molecule.smiles)));
      if (wrong) lines.push(make("p", {}, "Its distances suggest other bond orders than its Lewis structure has."));
    } else {
      const piece = molecule.fragment === null ? "RDKit refuses its bonds: not valid by EDM's count either."
        : "EDM calls it valid for its largest fragment: ";
      lines.push(make("p", {}, make("span", { className: "wrong" }, "✗ Not connected and valid. "), piece,
        molecule.fragment === null ? "" : make("code", {}, molecule.fragment)));
    }
    const xyz = molecule.elements.map((symbol, atom) => [symbol, ...molecule.positions.slice(3 * atom, 3 * atom + 3)].join(" "));
    const text = [atoms, `${run().name} ${sampler().name} ${molecule.number}`, ...xyz, ""].join("\n");
    const file = `${run().name}-${sampler().name}-${molecule.number}.xyz`;
    lines.push(make("p", {}, make("a", { download: file, href: `data:chemical/x-xyz,${encodeURIComponent(text)}` }, "Save as XYZ")));
    at("details").replaceChildren(...lines);
  }

  function select(molecule) {
    gallery.show(molecule);
    const state = molecule.problems.length ? `${molecule.problems.length} unstable atoms` : "stable";
    at("viewer").setAttribute("aria-label", `Molecule ${molecule.number}, ${molecule.formula}, ${state}, in 3D`);
    details(molecule);
  }

  function fill() {
    const show = at("show").value, [wanted, count] = KINDS[show], one = sampler();
    const shown = one.molecules.filter(wanted).slice(0, data.shown), total = count(one);
    at("count").textContent = show === "all" ? `The first ${shown.length} of ${number(total)} molecules, as they came.`
      : `${number(total)} of ${number(one.total)} molecules ${total === 1 ? "is" : "are"} ${words[show]}`
        + (shown.length < total ? `: the first ${shown.length}.` : ".");
    const cards = shown.map((molecule, place) => {
      const wrong = molecule.unstable.length;
      const radio = make("input", { type: "radio", name: "molecule", checked: !place });
      radio.addEventListener("change", () => select(molecule));
      const mark = make("span", { className: "mark" }, wrong ? `✗ ${wrong} of ${molecule.elements.length}` : "✓ stable");
      if (wrong) mark.setAttribute("aria-label", `${wrong} of ${molecule.elements.length} atoms not stable`);
      const canvas = make("canvas", {});
      canvas.setAttribute("aria-hidden", "true");
      return make("label", { className: "card" }, radio, canvas, make("span", {}, ...formula(molecule.formula)), mark);
    });
    at("cards").replaceChildren(...cards);
    cards.forEach((card, place) => paint(card.querySelector("canvas"), shown[place]));
    at("viewer").parentNode.parentNode.hidden = !shown.length;
    if (shown.length) select(shown[0]);
  }

  const options = (entries) => entries.map((text) => make("option", {}, text));
  function choose() {
    at("sampler").replaceChildren(...options(run().samplers.map((one) => one.label)));
    fill();
  }
  at("run").replaceChildren(...options(data.runs.map((one) => one.name)));
  at("run").addEventListener("change", choose);
  at("sampler").addEventListener("change", fill);
  at("show").addEventListener("change", fill);
  at("choices").addEventListener("submit", (event) => event.preventDefault());
  at("reset").addEventListener("click", gallery.reset);
  at("names").addEventListener("change", () => gallery.names(at("names").checked));
  at("spin").hidden = renderer === null;
  at("spin").addEventListener("click", () => {
    const on = at("spin").getAttribute("aria-pressed") !== "true";
    at("spin").setAttribute("aria-pressed", on);
    gallery.spin(on);
  });
  choose();

  // From noise to a molecule

  function startWay() {
    const { frames } = data.trajectory, slider = at("frame"), way = view(at("way"));
    const SECONDS = 6;
    let timer = null;
    slider.max = slider.value = frames.length;
    function show() {
      const frame = frames[slider.value - 1];
      way.show(frame, true);
      const text = `${slider.value} of ${frames.length}: noise of ${frame.level}`;
      at("frame-label").textContent = text;
      slider.setAttribute("aria-valuetext", text);
    }
    function play(on) {
      clearInterval(timer);
      timer = on ? setInterval(() => {
        slider.stepUp();
        show();
        if (slider.value === slider.max) play(false);
      }, 1000 * SECONDS / frames.length) : null;
      at("play").textContent = on ? "Pause" : "Play";
    }
    // One scale throughout, that of the finished molecule with room around it.
    way.show(frames[frames.length - 1], true);
    way.fit(0.5);
    slider.addEventListener("input", () => { play(false); show(); });
    at("play").addEventListener("click", () => {
      if (timer !== null) return play(false);
      if (slider.value === slider.max) slider.value = 1;
      show();
      play(true);
    });
    show();
  }
  if (data.trajectory) {
    // Not before it comes near: a view costs seconds where the processor has to draw it.
    const near = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      near.disconnect();
      startWay();
    }, { rootMargin: "400px" });
    near.observe(at("trajectory"));
  }
})();
