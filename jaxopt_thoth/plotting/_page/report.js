"use strict";
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const byId = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const color = (index) => {
    const palette = dark.matches ? data.colors.dark : data.colors.light;
    return palette[index % palette.length];
  };
  const ink = () => getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const make = (tag, attributes = {}, text = null) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== null) node.textContent = text;
    return node;
  };
  const show = (value, digits = 3) => (Number.isFinite(value) ? value.toFixed(digits) : "no data");
  // Four digits that count, of numbers of any size.
  const brief = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "no data");

  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  // Whole numbers from 0 to the largest but one; the largest stands for no data.
  const unpack = (packed) => {
    const bytes = bytesOf(packed.values);
    const codes = packed.bits === 8 ? bytes : new Uint16Array(bytes.buffer);
    const top = packed.bits === 8 ? 255 : 65535;
    const unit = (packed.high - packed.low) / (top - 1);
    return (index) => (codes[index] === top ? NaN : packed.low + unit * codes[index]);
  };

  const { height, width, names, bands } = data;
  const count = names.length;
  const maps = { ...data.maps, at: unpack(data.maps) };
  const residual = unpack(data.residual);
  const pixels = { ...data.pixels, at: unpack(data.pixels) };
  const rebuilt = data.rebuilt === null ? null : unpack(data.rebuilt);
  const mapSize = maps.rows * maps.columns;
  const mapIndex = (row, column) => Math.floor(row / maps.step) * maps.columns + Math.floor(column / maps.step);
  const abundances = (row, column) => names.map((_, k) => maps.at(k * mapSize + mapIndex(row, column)));

  // ---- the maps ------------------------------------------------------------------------------------------------
  const view = { zoom: 1, row: height / 2, column: width / 2 };
  const chosen = { row: 0, column: 0, kept: false };
  const tiles = [];

  const paint = (values, low, high, colors) => {
    const picture = make("canvas");
    picture.width = maps.columns;
    picture.height = maps.rows;
    const context = picture.getContext("2d");
    const image = context.createImageData(maps.columns, maps.rows);
    const table = bytesOf(colors);
    for (let index = 0; index < mapSize; index += 1) {
      const value = values(index);
      if (!Number.isFinite(value)) continue;
      const level = Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low || 1))));
      image.data.set([table[3 * level], table[3 * level + 1], table[3 * level + 2], 255], 4 * index);
    }
    context.putImageData(image, 0, 0);
    return picture;
  };

  const addMap = (name, values, low, high, colors, index) => {
    const figure = make("figure", { class: "map" });
    const caption = make("figcaption");
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    const value = make("span", { class: "value" });
    if (index !== null) caption.append(swatch);
    caption.append(make("span", { class: "name", title: name }, name), value);
    const what = index === null ? "Map of the reconstruction error" : `Abundance map of ${name}`;
    const canvas = make("canvas", {
      tabindex: "0",
      role: "application",
      "aria-roledescription": "map",
      "aria-label": `${what}, ${height} by ${width} pixels, from ${brief(low)} to ${brief(high)}. Arrow keys choose a pixel.`,
      "aria-describedby": "pixel-status",
    });
    const scale = make("div", { class: "scale", "aria-hidden": "true" });
    const table = bytesOf(colors);
    const stops = [...Array(9).keys()].map((k) => {
      const level = Math.round((255 * k) / 8);
      return `rgb(${table[3 * level]}, ${table[3 * level + 1]}, ${table[3 * level + 2]})`;
    });
    const ramp = make("i", { style: `background: linear-gradient(90deg, ${stops.join(", ")})` });
    scale.append(make("span", {}, brief(low)), ramp, make("span", {}, brief(high)));
    figure.append(caption, canvas, scale);
    byId("maps").append(figure);
    const tile = { canvas, value, swatch, index, values, picture: paint(values, low, high, colors) };
    tiles.push(tile);
    listen(tile);
  };

  // Device pixels of a pixel of the scene, and where the middle of the view lies.
  const frame = (canvas) => {
    const unit = Math.min(canvas.width / width, canvas.height / height) * view.zoom;
    return { unit, left: canvas.width / 2 - unit * view.column, top: canvas.height / 2 - unit * view.row };
  };

  const draw = (tile) => {
    const { canvas, picture } = tile;
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.max(1, Math.round(canvas.clientWidth * ratio));
    const tall = Math.max(1, Math.round(Math.min(Math.max((wide * height) / width, 48 * ratio), 520 * ratio)));
    if (canvas.width !== wide || canvas.height !== tall) {
      canvas.width = wide;
      canvas.height = tall;
      canvas.style.height = `${tall / ratio}px`;
    }
    const context = canvas.getContext("2d");
    const { unit, left, top } = frame(canvas);
    context.clearRect(0, 0, wide, tall);
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--masked");
    context.fillRect(left, top, unit * width, unit * height);
    context.imageSmoothingEnabled = unit * maps.step < 1;
    context.drawImage(picture, left, top, unit * maps.step * maps.columns, unit * maps.step * maps.rows);
    const size = Math.max(unit, 5 * ratio);
    const x = left + unit * (chosen.column + 0.5) - size / 2;
    const y = top + unit * (chosen.row + 0.5) - size / 2;
    for (const [style, thick] of [["#000000", 4], ["#ffffff", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = thick * ratio * (chosen.kept ? 1 : 0.6);
      context.strokeRect(x - ratio, y - ratio, size + 2 * ratio, size + 2 * ratio);
    }
  };

  let waiting = false;
  const drawAll = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const tile of tiles) draw(tile);
    });
  };

  const clampView = () => {
    view.zoom = Math.min(Math.max(view.zoom, 1), Math.max(height, width) / 4 + 1);
    const half = 0.5 / view.zoom;
    view.row = Math.min(Math.max(view.row, half * height), (1 - half) * height);
    view.column = Math.min(Math.max(view.column, half * width), (1 - half) * width);
    for (const tile of tiles) tile.canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
  };

  const zoom = (factor, row = chosen.row + 0.5, column = chosen.column + 0.5) => {
    const before = view.zoom;
    view.zoom *= factor;
    clampView();
    // The place under the pointer stays there.
    const moved = before / view.zoom;
    view.row = row + (view.row - row) * moved;
    view.column = column + (view.column - column) * moved;
    clampView();
    drawAll();
  };

  const showAll = () => {
    Object.assign(view, { zoom: 1, row: height / 2, column: width / 2 });
    clampView();
    drawAll();
  };

  const placeOf = (tile, event) => {
    const box = tile.canvas.getBoundingClientRect();
    const { unit, left, top } = frame(tile.canvas);
    const ratio = tile.canvas.width / box.width;
    return {
      row: ((event.clientY - box.top) * ratio - top) / unit,
      column: ((event.clientX - box.left) * ratio - left) / unit,
      unit: unit / ratio,
    };
  };
  const inside = ({ row, column }) => row >= 0 && column >= 0 && row < height && column < width;

  const listen = (tile) => {
    let drag = null;
    tile.canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, row: view.row, column: view.column, moved: false };
      tile.canvas.setPointerCapture(event.pointerId);
    });
    tile.canvas.addEventListener("pointermove", (event) => {
      const place = placeOf(tile, event);
      if (drag !== null) {
        const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
        drag.moved = drag.moved || Math.hypot(dx, dy) > 4;
        if (drag.moved && view.zoom > 1) {
          view.row = drag.row - dy / place.unit;
          view.column = drag.column - dx / place.unit;
          clampView();
          drawAll();
        }
      } else if (!chosen.kept && inside(place)) {
        choose(Math.floor(place.row), Math.floor(place.column));
      }
    });
    tile.canvas.addEventListener("pointerup", (event) => {
      const place = placeOf(tile, event);
      if (drag !== null && !drag.moved && inside(place)) {
        const [row, column] = [Math.floor(place.row), Math.floor(place.column)];
        chosen.kept = !(chosen.kept && row === chosen.row && column === chosen.column);
        choose(row, column, true);
      }
      drag = null;
    });
    tile.canvas.addEventListener("pointercancel", () => { drag = null; });
    tile.canvas.addEventListener("dblclick", (event) => {
      const place = placeOf(tile, event);
      zoom(2, place.row, place.column);
    });
    tile.canvas.addEventListener("wheel", (event) => {
      // A bare wheel scrolls the page.
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const place = placeOf(tile, event);
      zoom(Math.exp(-event.deltaY / 300), place.row, place.column);
    }, { passive: false });
    tile.canvas.addEventListener("keydown", (event) => {
      const far = event.shiftKey ? 10 : 1;
      const moves = { ArrowUp: [-far, 0], ArrowDown: [far, 0], ArrowLeft: [0, -far], ArrowRight: [0, far] };
      if (event.key in moves) {
        const [down, right] = moves[event.key];
        chosen.kept = true;
        choose(
          Math.min(Math.max(chosen.row + down, 0), height - 1),
          Math.min(Math.max(chosen.column + right, 0), width - 1),
          true,
        );
        follow();
      } else if (event.key === "+" || event.key === "=") zoom(1.5);
      else if (event.key === "-") zoom(1 / 1.5);
      else if (event.key === "0") showAll();
      else if (event.key === "Escape") {
        chosen.kept = false;
        drawAll();
      } else return;
      event.preventDefault();
    });
  };

  // A pixel chosen by keys stays in view.
  const follow = () => {
    const [tall, wide] = [0.45 * height / view.zoom, 0.45 * width / view.zoom];
    view.row = Math.min(Math.max(view.row, chosen.row - tall), chosen.row + tall);
    view.column = Math.min(Math.max(view.column, chosen.column - wide), chosen.column + wide);
    clampView();
  };

  // ---- charts --------------------------------------------------------------------------------------------------
  const holder = make("div");
  holder.innerHTML = "<svg></svg>";
  const SVG = holder.firstChild.namespaceURI;
  const shape = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const steps = bands.values.slice(1).map((value, k) => value - bands.values[k]);
  const median = [...steps].sort((a, b) => a - b)[Math.floor(steps.length / 2)];
  const breaks = new Set(steps.flatMap((step, k) => (steps.length > 1 && step > 4 * median ? [k + 1] : [])));

  const ticksOf = (low, high, most) => {
    const rough = (high - low) / most || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((k) => k >= rough * 0.999);
    const ticks = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) ticks.push(k * step);
    return ticks;
  };

  // A chart of curves over the bands; `curves` are {name, paint(), dash, values, hidden}.
  class Chart {
    constructor(host, label, digits) {
      this.label = label;
      this.digits = digits;
      this.curves = [];
      this.band = null;
      host.classList.add("chart");
      this.svg = shape("svg", { role: "img", tabindex: "0", height: "250" });
      this.readout = make("p", { class: "readout", "aria-live": "polite" });
      this.legend = make("div", { class: "legend", role: "group", "aria-label": "Curves; press to hide or show" });
      host.append(this.svg, this.readout, this.legend);
      new ResizeObserver(() => this.draw()).observe(host);
      this.svg.addEventListener("pointermove", (event) => this.point(this.nearest(event)));
      this.svg.addEventListener("pointerleave", () => this.point(null));
      this.svg.addEventListener("keydown", (event) => {
        const far = event.shiftKey ? 10 : 1;
        const move = { ArrowLeft: -far, ArrowRight: far }[event.key];
        if (move === undefined) return;
        event.preventDefault();
        const last = bands.values.length - 1;
        this.point(Math.min(Math.max((this.band === null ? -1 : this.band) + move, 0), last));
      });
    }

    set(curves) {
      const hidden = new Map(this.curves.map((curve) => [curve.name, curve.hidden]));
      const same = curves.length === this.curves.length && curves.every((curve) => hidden.has(curve.name));
      this.curves = curves.map((curve) => ({ ...curve, hidden: hidden.get(curve.name) || false }));
      if (!same) this.fillLegend();
      this.draw();
    }

    fillLegend() {
      this.legend.replaceChildren();
      this.values = this.curves.map((curve, k) => {
        const button = make("button", { type: "button", "aria-pressed": "true" });
        const value = make("span", { class: "value" });
        button.append(make("span", { class: "swatch" }), make("span", { class: "name", title: curve.name }, curve.name), value);
        button.addEventListener("click", () => {
          this.curves[k].hidden = !this.curves[k].hidden;
          button.setAttribute("aria-pressed", String(!this.curves[k].hidden));
          this.draw();
        });
        this.legend.append(button);
        return value;
      });
    }

    limits() {
      const shown = this.curves.filter((curve) => !curve.hidden).flatMap((curve) => curve.values.filter(Number.isFinite));
      const low = shown.reduce((a, b) => Math.min(a, b), 0);
      const high = shown.reduce((a, b) => Math.max(a, b), -Infinity);
      return high > low ? [low, low + 1.04 * (high - low)] : [low, low + 1];
    }

    draw() {
      const wide = this.svg.clientWidth || 480;
      const box = { left: 46, right: wide - 8, top: 8, bottom: 212 };
      const [first, last] = [bands.values[0], bands.values[bands.values.length - 1]];
      const [low, high] = this.limits();
      const x = (value) => box.left + ((value - first) / (last - first || 1)) * (box.right - box.left);
      const y = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
      Object.assign(this, { x, y, box });
      this.svg.setAttribute("viewBox", `0 0 ${wide} 250`);
      this.svg.setAttribute(
        "aria-label",
        `${this.label}: ${this.curves.map((curve) => curve.name).join(", ") || "nothing yet"}, over ${bands.label}. Left and right arrows read the values.`,
      );
      this.svg.replaceChildren();
      const write = (text, attributes) => {
        const node = shape("text", attributes);
        node.textContent = text;
        this.svg.append(node);
      };
      for (const tick of ticksOf(low, high, 4)) {
        this.svg.append(shape("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
        write(brief(tick), { x: box.left - 6, y: y(tick) + 4, "text-anchor": "end" });
      }
      for (const tick of ticksOf(first, last, Math.max(2, Math.floor(wide / 90)))) {
        write(brief(tick), { x: x(tick), y: box.bottom + 16, "text-anchor": "middle" });
      }
      write(bands.label, { x: (box.left + box.right) / 2, y: box.bottom + 33, "text-anchor": "middle" });
      for (const curve of this.curves) {
        if (curve.hidden) continue;
        let path = "";
        let pen = "M";
        curve.values.forEach((value, k) => {
          if (breaks.has(k) || !Number.isFinite(value)) pen = "M";
          if (!Number.isFinite(value)) return;
          path += `${pen}${x(bands.values[k]).toFixed(1)} ${y(value).toFixed(1)}`;
          pen = "L";
        });
        this.svg.append(shape("path", {
          d: path, fill: "none", stroke: curve.paint(), "stroke-width": curve.dash ? 1.3 : 2,
          "stroke-dasharray": curve.dash || "none", "stroke-linejoin": "round",
        }));
      }
      this.cursor = shape("g", { "aria-hidden": "true" });
      this.svg.append(this.cursor);
      [...this.legend.children].forEach((button, k) => {
        const { paint, dash } = this.curves[k];
        button.firstChild.style.background = dash
          ? `repeating-linear-gradient(90deg, ${paint()} 0 4px, transparent 4px 6px)`
          : paint();
      });
      this.point(this.band);
    }

    nearest(event) {
      const place = event.clientX - this.svg.getBoundingClientRect().left;
      let best = 0;
      bands.values.forEach((value, k) => {
        if (Math.abs(this.x(value) - place) < Math.abs(this.x(bands.values[best]) - place)) best = k;
      });
      return best;
    }

    point(band) {
      this.band = band;
      this.cursor.replaceChildren();
      const known = band !== null && this.curves.length > 0;
      this.readout.textContent = known ? `${bands.label} ${brief(bands.values[band])}` : "";
      this.curves.forEach((curve, k) => {
        this.values[k].textContent = known ? brief(curve.values[band]) : "";
        if (!known || curve.hidden || !Number.isFinite(curve.values[band])) return;
        this.cursor.append(shape("circle", {
          cx: this.x(bands.values[band]), cy: this.y(curve.values[band]), r: 3.2, fill: curve.paint(),
        }));
      });
      if (!known) return;
      const at = this.x(bands.values[band]);
      this.cursor.prepend(shape("line", { class: "cursor", x1: at, x2: at, y1: this.box.top, y2: this.box.bottom }));
    }
  }

  // ---- the chosen pixel ----------------------------------------------------------------------------------------
  const bars = names.map((name, k) => {
    const fill = make("i");
    const track = make("div", { class: "track", "aria-hidden": "true" });
    const value = make("div", { class: "value" });
    track.append(fill);
    byId("pixel-bars").append(make("div", { class: "name", title: name }, name), track, value);
    return { fill, value };
  });
  const pixelChart = new Chart(byId("pixel-chart"), "Spectrum of the pixel");

  const choose = (row, column, aloud = false) => {
    Object.assign(chosen, { row, column });
    const shares = abundances(row, column);
    const known = shares.every(Number.isFinite);
    bars.forEach(({ fill, value }, k) => {
      fill.style.width = `${known ? 100 * Math.min(Math.max(shares[k], 0), 1) : 0}%`;
      fill.style.background = color(k);
      value.textContent = show(shares[k]);
    });
    for (const tile of tiles) tile.value.textContent = brief(tile.values(mapIndex(row, column)));
    const step = pixels.step;
    const [near, beside] = [Math.floor(row / step) * step, Math.floor(column / step) * step];
    const stored = near === row && beside === column;
    const place = `Row ${row + 1}, column ${column + 1}`;
    const spectrumOf = stored ? "" : `; spectrum of the nearest one kept, row ${near + 1}, column ${beside + 1}`;
    const kept = chosen.kept ? " (kept)" : "";
    byId("pixel-place").textContent = `${place}${kept}${known ? "" : ": no data"}${spectrumOf}`;
    const start = ((near / step) * pixels.columns + beside / step) * bands.values.length;
    const mixture = abundances(near, beside);
    const measured = bands.values.map((_, band) => pixels.at(start + band));
    const model = bands.values.map((_, band) => {
      if (rebuilt !== null) return rebuilt(start + band);
      return mixture.reduce((sum, share, k) => sum + share * data.endmembers[k][band], 0);
    });
    pixelChart.set([
      { name: data.measured, paint: ink, dash: "", values: measured },
      { name: "reconstruction", paint: () => color(1), dash: "5 3", values: model },
    ]);
    if (aloud) {
      const said = names.map((name, k) => `${name} ${show(shares[k], 2)}`).join(", ");
      byId("pixel-status").textContent = `${place}: ${known ? said : "no data"}`;
    }
    drawAll();
  };

  // ---- the page ------------------------------------------------------------------------------------------------
  names.forEach((name, k) => {
    addMap(name, (index) => maps.at(k * mapSize + index), 0, 1, data.palettes.abundance, k);
  });
  addMap("reconstruction error", residual, 0, data.residual_top, data.palettes.residual, null);
  const buttons = [
    ["+", "Zoom in", () => zoom(1.5)],
    ["\u2212", "Zoom out", () => zoom(1 / 1.5)],
    ["Show all", "Show the whole scene", showAll],
  ];
  for (const [text, label, action] of buttons) {
    const button = make("button", { type: "button", "aria-label": label, title: label }, text);
    button.addEventListener("click", action);
    byId("tools").append(button);
  }
  const spectraChart = new Chart(byId("spectra-chart"), "Spectra of the endmembers");
  const dress = () => {
    for (const tile of tiles) if (tile.index !== null) tile.swatch.style.background = color(tile.index);
    const curves = names.map((name, k) => ({ name, paint: () => color(k), dash: "", values: data.curves[k] }));
    (data.truth || []).forEach((values, k) => {
      curves.push({ name: `truth: ${names[k]}`, paint: () => color(k), dash: "4 3", values });
    });
    spectraChart.set(curves);
    choose(chosen.row, chosen.column);
  };
  dark.addEventListener("change", dress);
  new ResizeObserver(drawAll).observe(byId("maps"));
  clampView();
  choose(Math.floor(height / 2), Math.floor(width / 2));
  dress();
  document.documentElement.dataset.ready = "yes";
})();
