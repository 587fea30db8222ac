// Numbers: the delta weight (clauses 3.1 and 3.2), kinds, sampling and fingerprint positions
// (registry).

import WAVELETS from "../wavelets-1.0.json" with { type: "json" };

/** One element of a delta weight; `entries` is a flat list u, v, u, v, ... */
export function deltaValue(transform, entries, coefficients, [out, into], alpha, p, q) {
  const term = TERMS.get(transform);
  let sum = 0;
  for (let k = 0; k < coefficients.length; k += 1) {
    sum += coefficients[k] * term(entries[2 * k], entries[2 * k + 1], out, into, p, q);
  }
  return alpha * sum;
}

// For each transform: what a coefficient of 1 at (u, v) adds to the element [p, q], for alpha 1.
const TERMS = new Map([
  ["dft2", (...at) => fourier(Math.cos, ...at)],
  ["dht2", (...at) => fourier((t) => Math.cos(t) + Math.sin(t), ...at)],
  ["dct2", (u, v, out, into, p, q) => cosine(u, p, out) * cosine(v, q, into)],
  ...Object.entries(WAVELETS).map(([name, g0]) => [`dwt2:${name}`, wavelet(g0)]),
]);

export const isTransform = (name) => TERMS.has(name);

function fourier(wave, u, v, out, into, p, q) {
  return wave(2 * Math.PI * (turn(u, p, out) + turn(v, q, into))) / (out * into);
}

function cosine(f, x, length) {
  const angle = 2 * Math.PI * turn(f, 2 * x + 1, 4 * length);
  return Math.sqrt((f === 0 ? 1 : 2) / length) * Math.cos(angle);
}

function wavelet(g0) {
  const g1 = g0.map((_, t) => (-1) ** t * g0[g0.length - 1 - t]);
  const place = (f, length) => {
    const half = (length + (length % 2) + g0.length - 2) / 2;
    const x = f + g0.length / 2 - 1;
    return x < half ? { band: g0, index: x } : { band: g1, index: x - half };
  };
  const weight = (band, index, y) => band[y + g0.length - 2 - 2 * index] ?? 0;
  return (u, v, out, into, p, q) => {
    const [row, column] = [place(u, out), place(v, into)];
    return weight(column.band, row.index, p) * weight(row.band, column.index, q);
  };
}

/** The fraction of a full turn, frequency * position / length, reduced in integers. */
function turn(frequency, position, length) {
  const product = frequency * position;
  const exact = Number.isSafeInteger(product) ? product % length
    : Number((BigInt(frequency) * BigInt(position)) % BigInt(length));
  return exact / length;
}

const ORDERS = {
  linear: { out_in: [0, 1], in_out: [1, 0] },
  conv2d: { oihw: [0, 1, 2, 3], hwio: [3, 2, 0, 1] },
  embedding: { vocab_dim: [1, 0] },
};

/** The flat list of stored elements as { shape: [out, in], values } of the canonical matrix. */
export function canonical(values, stored, kind, { layout, contracted }) {
  const free = stored.map((_, axis) => axis).filter((axis) => !contracted?.includes(axis));
  const order = kind === "einsum_dense"
    ? [...free, ...[...contracted].sort((a, b) => a - b)] : ORDERS[kind][layout];
  const outs = kind === "einsum_dense" ? free.length : 1;
  const strides = stored.map((_, axis) => stored.slice(axis + 1).reduce((a, b) => a * b, 1));
  let places = [0];
  for (const axis of order) {
    const steps = Array.from({ length: stored[axis] }, (_, i) => i * strides[axis]);
    places = places.flatMap((place) => steps.map((step) => place + step));
  }
  const product = (axes) => axes.reduce((n, axis) => n * stored[axis], 1);
  const shape = [product(order.slice(0, outs)), product(order.slice(outs))];
  return { shape, values: places.map((place) => values[place]) };
}

const MASK = 2n ** 64n - 1n;

function word(seed, i) {
  let z = (seed + (BigInt(i) + 1n) * 0x9e3779b97f4a7c15n) & MASK;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return z ^ (z >> 31n);
}

const below = (random, bound) => (random * bound) >> 64n;

/** The 32 positions of a fingerprint's samples, as BigInts. */
export function fingerprintPositions([out, into]) {
  const total = BigInt(out) * BigInt(into);
  return Array.from({ length: 32 }, (_, i) => below(word(0x667072696e74n, i), total));
}

function* mersenne(seed) {
  const m = new Uint32Array(624);
  m[0] = Number(seed & 0xffffffffn);
  for (let i = 1; i < 624; i += 1) m[i] = Math.imul(1812433253, m[i - 1] ^ (m[i - 1] >>> 30)) + i;
  for (;;) {
    for (let k = 0; k < 624; k += 1) {
      const y = (m[k] & 0x80000000) | (m[(k + 1) % 624] & 0x7fffffff);
      m[k] = m[(k + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    for (let y of m) {
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      yield (y ^ (y >>> 18)) >>> 0;
    }
  }
}

/** The first n of 0, 1, 2, ... after exchanging place i with place i + offset(i). */
function exchanged(n, steps, offset) {
  const moved = new Map();
  const at = (i) => moved.get(i) ?? i;
  const result = [];
  for (let i = 0n; i < n; i += 1n) {
    const other = i + (i < steps ? offset(i) : 0n);
    result.push(at(other));
    moved.set(other, at(i));
  }
  return result;
}

function fisherYates({ total, n, seed }) {
  return exchanged(n, n, (i) => below(word(seed, i), total - i));
}

function randperm32({ total, n, seed }) {
  const words = mersenne(seed);
  return exchanged(n, total - 1n, (i) => BigInt(words.next().value) % (total - i));
}

function randperm64({ total, n, seed }) {
  if (total > 2n ** 32n) return undefined; // it would take hours
  const words = mersenne(seed);
  const a = []; // no element from a[n] on is ever moved to a place below n
  for (let i = 0n; i < total; i += 1n) {
    const high = BigInt(words.next().value) << 32n;
    const z = (high + BigInt(words.next().value)) % (i + 1n);
    if (i < n) a[i] = a[z];
    if (z < n) a[z] = i;
  }
  return a;
}

function rejection({ total, n, seed, out, into, parameters: { centre, width } }) {
  if (!(centre >= 0 && width > 0)) return null;
  const chosen = new Set();
  for (let j = 0; j < 2 ** 26; j += 1) {
    const f = below(word(seed, 2 * j), total);
    const t = Number(word(seed, 2 * j + 1) >> 32n);
    const u = f / into;
    const v = f % into;
    const [near, far] = [u < out - u ? u : out - u, v < into - v ? v : into - v].map(Number);
    if (t < threshold(near, far, centre, width)) chosen.add(f);
    if (chosen.size === Number(n)) return [...chosen];
  }
  return null;
}

/** What the word of a candidate must be below, for its distances u' and v'; NaN accepts none. */
export function threshold(u, v, centre, width) {
  return Math.floor(density(u, v, centre, width) * 2 ** 32);
}

function density(u, v, c, w) {
  const squared = u * u + v * v;
  const d = squared - c * c;
  const s = squared * (w * w);
  const x = squared === 0 ? (c === 0 ? 0 : Infinity) : (d * d) / s;
  if (x > 40) return 0;
  const y = x / 1024;
  let e = 1;
  for (let k = 10; k >= 1; k -= 1) e = 1 - (y / k) * e;
  for (let k = 0; k < 10; k += 1) e *= e;
  return e;
}

const PAIRS = {
  "uniform splitmix64-fisher-yates": fisherYates,
  "band-pass splitmix64-rejection": rejection,
  "torch-randperm mt19937-fy32": randperm32,
  "torch-randperm mt19937-io64": randperm64,
};

/** Draws a recipe: entries [u, v]; null if it cannot be drawn, undefined if it is unregistered. */
export function draw({ method, generator, parameters = {} }, seed, count, [rows, columns]) {
  const pair = `${method} ${generator}`;
  if (!Object.hasOwn(PAIRS, pair)) return undefined;
  const [out, into, n] = [rows, columns, count].map(BigInt);
  const total = out * into;
  if (seed === undefined || n > total) return null;
  const flat = PAIRS[pair]({ total, n, seed: BigInt(seed), out, into, parameters });
  return flat && flat.map((f) => [Number(f / into), Number(f % into)]);
}

/** What a validator adds to a reader (clause 7): the violations of a valid adapter's recipes. */
export function checkRecipes({ manifest, tensors }) {
  return manifest.entries.filter(({ id, shape, count, sampling }) => {
    if (sampling === undefined) return false;
    const drawn = draw(sampling, sampling.seed ?? manifest.seed, count, shape);
    const stored = tensors.get(`entries/${id}`).values.join();
    return drawn !== undefined && drawn?.flat().join() !== stored;
  }).map(({ id }) => ({ code: "E-SAMPLING-MISMATCH", where: `manifest.entries, set ${id}` }));
}
