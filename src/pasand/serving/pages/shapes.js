// Motifs of posters, each drawn on 200 by 200: a function of random numbers and a palette that returns SVG elements.

import { svg } from "./dom.js";

const circle = (cx, cy, r, fill, more = {}) => svg("circle", { cx, cy, r, fill, ...more });
const path = (d, fill, more = {}) => svg("path", { d, fill, ...more });
const ring = (cx, cy, r, stroke, width) => svg("circle", { cx, cy, r, fill: "none", stroke, "stroke-width": width });
const rect = (x, y, width, height, fill, more = {}) => svg("rect", { x, y, width, height, fill, ...more });
const points = (list) => `M${list.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}Z`;
const range = (n) => Array.from({ length: n }, (_, at) => at);
const between = (next, low, high) => low + next() * (high - low);
const around = (cx, cy, r, turn) => [cx + r * Math.cos(turn * 2 * Math.PI), cy + r * Math.sin(turn * 2 * Math.PI)];
const swapped = (next, { one, two }) => (next() < 0.5 ? [one, two] : [two, one]);

function sun(next, palette) {
  const [disc, water] = swapped(next, palette);
  const x = between(next, 70, 130);
  const line = between(next, 118, 138);
  const ripples = range(5).map((at) => rect(0, line + at * 17, 200, 4 + at * 2.2, water));
  return [circle(x, line - 22, between(next, 48, 62), disc), rect(0, line, 200, 90, palette.deep), ripples];
}

function arch(next, palette) {
  const [one, two] = swapped(next, palette);
  const door = (w, top, fill) => path(`M${100 - w} 210V${top + w}A${w} ${w} 0 0 1 ${100 + w} ${top + w}V210Z`, fill);
  const x = between(next, 84, 116);
  return [door(84, 14, palette.deep), door(62, 40, one), door(40, 68, palette.ground), circle(x, 118, 17, two)];
}

function moon(next, palette) {
  const [one, two] = swapped(next, palette);
  const side = between(next, -26, 26);
  const hill = between(next, 140, 165);
  const dots = range(9).map(() =>
    circle(between(next, 8, 192), between(next, 8, 90), between(next, 1, 2.6), palette.ink),
  );
  return [
    rect(0, 0, 200, 200, palette.deep),
    dots,
    circle(100 + side, 84, 44, one),
    circle(118 + side, 72, 38, palette.deep),
    path(`M0 ${hill}Q60 ${hill - 40} 110 ${hill}T200 ${hill - 14}V200H0Z`, two),
  ];
}

function steps(next, palette) {
  const [one, two] = swapped(next, palette);
  const flip = next() < 0.5;
  const stairs = range(6).map((at) =>
    rect(flip ? 0 : at * 33, 52 + at * 26, flip ? 200 - at * 33 : 200, 27, at % 2 ? one : palette.deep),
  );
  return [circle(flip ? 148 : 52, 54, 34, two), stairs];
}

function rays(next, palette) {
  const [one, two] = swapped(next, palette);
  const [x, y] = [between(next, 60, 140), between(next, 110, 170)];
  const n = 11 + Math.floor(next() * 5);
  const beams = range(n).map((at) =>
    path(points([[x, y], around(x, y, 300, at / n), around(x, y, 300, (at + 0.5) / n)]), at % 3 ? palette.deep : one),
  );
  return [beams, circle(x, y, 34, two), circle(x, y, 19, palette.ground)];
}

function shards(next, palette) {
  const colours = [palette.deep, palette.one, palette.two, palette.ink];
  const lean = between(next, 30, 80);
  return range(6).map((at) => {
    const x = -50 + at * 45 + between(next, -8, 8);
    const w = between(next, 14, 40);
    return path(
      points([
        [x, 210],
        [x + lean, between(next, -10, 80)],
        [x + lean + w, -10],
        [x + w, 210],
      ]),
      colours[at % (next() < 0.2 ? 4 : 3)],
    );
  });
}

function blinds(next, palette) {
  const [one, two] = swapped(next, palette);
  const x = between(next, 60, 140);
  const slats = range(9).map((at) => rect(0, at * 23, 200, 12, palette.deep));
  return [
    circle(x, 96, 66, one),
    slats,
    path(
      points([
        [x - 12, 210],
        [x - 30, 110],
        [x, 78],
        [x + 30, 110],
        [x + 12, 210],
      ]),
      two,
    ),
    circle(x, 66, 19, two),
  ];
}

function target(next, palette) {
  const [one, two] = swapped(next, palette);
  const [x, y] = [between(next, 60, 140), between(next, 70, 130)];
  const rings = range(5).map((at) =>
    circle(x, y, 132 - at * 27, [palette.deep, one, palette.ground, two, palette.deep][at]),
  );
  return [rings, rect(x - 1.5, 0, 3, 200, palette.ink), rect(0, y - 1.5, 200, 3, palette.ink)];
}

function pair(next, palette) {
  const [one, two] = swapped(next, palette);
  const r = between(next, 48, 60);
  const off = r * between(next, 0.5, 0.68);
  const tall = Math.sqrt(r * r - off * off);
  const lens = `M100 ${100 - tall}A${r} ${r} 0 0 1 100 ${100 + tall}A${r} ${r} 0 0 1 100 ${100 - tall}Z`;
  return [
    rect(0, 100, 200, 100, palette.deep),
    circle(100 - off, 100, r, one),
    circle(100 + off, 100, r, two),
    path(lens, palette.ink),
  ];
}

function waves(next, palette) {
  const colours = [palette.one, palette.deep, palette.two, palette.ink];
  const tall = between(next, 16, 34);
  const long = between(next, 44, 70);
  return range(7).map((at) => {
    const y = 30 + at * 24;
    return svg("path", {
      d: `M-10 ${y}q${long / 2} ${-tall} ${long} 0${`t${long} 0`.repeat(5)}`,
      fill: "none",
      stroke: colours[at % (at === 3 ? 4 : 3)],
      "stroke-width": 11,
    });
  });
}

function record(next, palette) {
  const [one, two] = swapped(next, palette);
  const x = between(next, 80, 120);
  return [
    circle(x, 100, 84, palette.deep),
    range(4).map((at) => ring(x, 100, 76 - at * 11, one, 2.5)),
    circle(x, 100, 27, two),
    circle(x, 100, 5, palette.ground),
  ];
}

function tiles(next, palette) {
  const colours = [palette.one, palette.two, palette.deep, palette.ink];
  return range(16)
    .map((at) => {
      const [x, y] = [(at % 4) * 50, Math.floor(at / 4) * 50];
      const fill = colours[Math.floor(next() * (next() < 0.25 ? 4 : 3))];
      const turn = `rotate(${Math.floor(next() * 4) * 90} ${x + 25} ${y + 25})`;
      const kind = next();
      if (kind < 0.15) return null;
      if (kind < 0.4) return circle(x + 25, y + 25, 20, fill);
      return path(kind < 0.75 ? `M${x} ${y}h50a50 50 0 0 1-50 50z` : `M${x} ${y + 25}a25 25 0 0 1 50 0z`, fill, {
        transform: turn,
      });
    })
    .filter(Boolean);
}

function mountains(next, palette) {
  const [one, two] = swapped(next, palette);
  const peak = (x, y, w, fill) =>
    path(
      points([
        [x - w, 210],
        [x, y],
        [x + w, 210],
      ]),
      fill,
    );
  const x = between(next, 60, 90);
  return [
    circle(between(next, 120, 160), 56, 30, one),
    peak(x + 80, 92, 110, palette.deep),
    peak(x, 62, 100, two),
    path(
      points([
        [x - 16.2, 86],
        [x, 62],
        [x + 16.2, 86],
        [x + 6, 80],
        [x - 4, 90],
      ]),
      palette.ink,
    ),
  ];
}

function star(next, palette) {
  const n = 8 + 2 * Math.floor(next() * 3);
  const layer = (outer, inner, fill, turn) =>
    path(points(range(2 * n).map((at) => around(100, 100, at % 2 ? inner : outer, at / (2 * n) + turn))), fill);
  return [
    layer(98, 66, palette.deep, 0),
    layer(76, 48, palette.one, 0.5 / n),
    layer(52, 32, palette.two, 0),
    circle(100, 100, 19, palette.ink),
    circle(100, 100, 10, palette.ground),
  ];
}

function orbits(next, palette) {
  const turn = between(next, -40, 40);
  const paths = range(3).map((at) =>
    svg("ellipse", {
      cx: 100,
      cy: 100,
      rx: 52 + at * 22,
      ry: 20 + at * 13,
      fill: "none",
      stroke: palette.two,
      "stroke-width": 2.5,
      transform: `rotate(${turn} 100 100)`,
    }),
  );
  const planets = range(3).map((at) => circle(...around(100, 100, 46 + at * 20, next()), 5 + at * 2, palette.ink));
  return [rect(0, 0, 200, 200, palette.deep), paths, circle(100, 100, 27, palette.one), planets];
}

function eye(next, palette) {
  const y = between(next, 90, 110);
  const lid = (tall) => `M6 ${y}Q100 ${y - tall} 194 ${y}Q100 ${y + tall} 6 ${y}Z`;
  return [
    rect(0, 0, 200, 200, palette.deep),
    path(lid(150), palette.two),
    path(lid(112), palette.ink),
    circle(100, y, 46, palette.one),
    svg("ellipse", { cx: 100, cy: y, rx: 10, ry: 40, fill: palette.deep }),
  ];
}

function houses(next, palette) {
  const colours = [palette.one, palette.deep, palette.two];
  return [
    circle(between(next, 40, 160), 46, 22, palette.ink),
    range(4).map((at) => {
      const [x, top] = [at * 52 - 6, between(next, 84, 124)];
      return [
        path(`M${x} 210V${top}L${x + 26} ${top - 30}L${x + 52} ${top}V210Z`, colours[at % 3]),
        rect(x + 19, top + 18, 14, 18, palette.ground),
      ];
    }),
  ];
}

function lanes(next, palette) {
  const colours = [palette.one, palette.deep, palette.two, palette.deep];
  const [x, y] = next() < 0.5 ? [0, 200] : [200, 200];
  return [
    range(6).map((at) => ring(x, y, 40 + at * 30, colours[at % 4], 24)),
    circle(...around(x, y, 130, x ? 0.62 : 0.88), 13, palette.ink),
  ];
}

function bust(next, palette) {
  const [one, two] = swapped(next, palette);
  const x = between(next, 86, 114);
  return [
    circle(x, 88, 74, one),
    path(`M${x - 72} 210C${x - 70} 150 ${x - 40} 136 ${x} 136S${x + 70} 150 ${x + 72} 210Z`, palette.deep),
    circle(x, 92, 36, two),
    path(`M${x - 36} 92A36 36 0 0 1 ${x + 36} 92L${x + 24} 78Q${x} 66 ${x - 24} 80Z`, palette.deep),
  ];
}

function chevrons(next, palette) {
  const colours = [palette.one, palette.deep, palette.two];
  const tall = between(next, 40, 70);
  return range(6).map((at) =>
    path(
      points([
        [-5, at * 40 + tall - 60],
        [100, at * 40 - 60],
        [205, at * 40 + tall - 60],
        [205, at * 40 + tall - 38],
        [100, at * 40 - 38],
        [-5, at * 40 + tall - 38],
      ]),
      colours[at % 3],
    ),
  );
}

function keyhole(next, palette) {
  const [one, two] = swapped(next, palette);
  const x = between(next, 84, 116);
  return [
    range(4).map((at) => ring(x, 92, 108 - at * 20, at % 2 ? two : palette.deep, 12)),
    circle(x, 84, 28, one),
    path(
      points([
        [x - 12, 96],
        [x + 12, 96],
        [x + 27, 172],
        [x - 27, 172],
      ]),
      one,
    ),
  ];
}

export const MOTIFS = {
  sun,
  arch,
  moon,
  steps,
  rays,
  shards,
  blinds,
  target,
  pair,
  waves,
  record,
  tiles,
  mountains,
  star,
  orbits,
  eye,
  houses,
  lanes,
  bust,
  chevrons,
  keyhole,
};
