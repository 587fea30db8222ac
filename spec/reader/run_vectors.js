// Runs the conformance vectors: node run_vectors.js [folder with index.json]

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as reader from "./fourier_format.js";

const folder = process.argv[2] ?? join(import.meta.dirname, "..", "vectors");
const bytesOf = (file) => new Uint8Array(readFileSync(join(folder, file)));
const jsonOf = (file) => JSON.parse(readFileSync(join(folder, file), "utf8"));
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

function check(holds, what) {
  if (!holds) throw new Error(what);
}

/** Equality of JSON values: members in any order, numbers by value. */
function same(a, b) {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const keys = Object.keys(a);
  return Array.isArray(a) === Array.isArray(b) && keys.length === Object.keys(b).length
    && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

const SPECIAL = { nan: NaN, inf: Infinity, "-inf": -Infinity };
const meant = (value, dtype) => typeof value === "string" && !/64$/.test(dtype) ? SPECIAL[value]
  : /^[UI]64$/.test(dtype) ? BigInt(value)
  : SPECIAL[value] ?? Number(value);

function checkTwin({ manifest, tensors, digest }, twin) {
  check(same(manifest, twin.manifest), "the manifest differs");
  check(digest === twin.sha256, "the digest differs");
  check(same([...tensors.keys()].sort(), Object.keys(twin.tensors).sort()), "other tensors");
  for (const [name, { dtype, shape, values }] of Object.entries(twin.tensors)) {
    const found = tensors.get(name);
    check(found.dtype === dtype && same(found.shape, shape), `${name}: another dtype or shape`);
    const equal = values.length === found.values.length
      && values.every((value, i) => Object.is(meant(value, dtype), found.values[i]));
    check(equal, `${name}: other values`);
  }
}

function checkAdapter({ codes, validator = [], files }) {
  const [file] = Object.keys(files).filter((name) => !name.endsWith(".json"));
  const [twin] = Object.keys(files).filter((name) => name.endsWith(".json"));
  let found;
  let reported = [];
  try {
    found = reader.readAdapter(bytesOf(file));
  } catch (error) {
    if (!(error instanceof reader.FormatError)) throw error;
    reported = error.violations.map(({ code }) => code);
  }
  const stated = codes ?? [];
  const refused = reported.length > 0;
  const right = refused === !!codes && reported.every((code) => stated.includes(code));
  check(right, `reports ${reported.join() || "nothing"}, not ${stated.join(" or ") || "nothing"}`);
  if (twin) checkTwin(found, jsonOf(twin));
  if (found) {
    const more = reader.checkRecipes(found).map(({ code }) => code);
    check(same([...new Set(more)], validator), `a validator reports ${more.join() || "nothing"}`);
  }
}

function checkDelta({
  transform, shape, alpha, entries, coefficients: { values }, delta, norm, largest, tolerance,
}) {
  const flat = entries.flat();
  const value = (p, q) => reader.deltaValue(transform, flat, values, shape, alpha, p, q);
  for (const [p, q, expected] of delta) {
    const off = Math.abs(value(p, q) - expected);
    check(off <= tolerance * largest, `[${p}, ${q}] is off by ${off}`);
  }
  if (shape[0] * shape[1] > 20_000) return; // direct sums over every cell would take minutes
  let squares = 0;
  let most = 0;
  for (let p = 0; p < shape[0]; p += 1) {
    for (let q = 0; q < shape[1]; q += 1) {
      squares += value(p, q) ** 2;
      most = Math.max(most, Math.abs(value(p, q)));
    }
  }
  check(Math.abs(Math.sqrt(squares) - norm) <= tolerance * norm, `norm ${Math.sqrt(squares)}`);
  check(Math.abs(most - largest) <= tolerance * largest, `largest ${most}`);
}

function checkThresholds(rows) {
  for (const [u, v, centre, width, expected] of rows) {
    const found = reader.threshold(u, v, centre, width) || 0; // NaN accepts as few as 0
    check(found === expected, `${[u, v, centre, width]}: ${found}, not ${expected}`);
  }
}

function checkEntries({ method, generator, parameters, shape, count, seed, entries, thresholds }) {
  if (thresholds) return checkThresholds(thresholds);
  const drawn = reader.draw({ method, generator, parameters }, seed, count, shape);
  return check(same(drawn, entries), `other entries: ${JSON.stringify(drawn?.slice(0, 3))}`);
}

function checkKind({ kind, layout, contracted, stored_shape, canonical_shape, canonical }) {
  const size = stored_shape.reduce((a, b) => a * b, 1);
  const values = Array.from({ length: size }, (_, i) => i);
  const found = reader.canonical(values, stored_shape, kind, { layout, contracted });
  check(same(found, { shape: canonical_shape, values: canonical }), "another matrix");
}

const WRITERS = {
  F16: (view, at, value) => view.setFloat16(at, value, true),
  F32: (view, at, value) => view.setFloat32(at, value, true),
  F64: (view, at, value) => view.setFloat64(at, value, true),
};

function bytesAs(dtype, values) {
  if (dtype === "BF16") return bytesAs("F32", values).filter((_, i) => i % 4 > 1);
  const size = Number(dtype.slice(1)) / 8;
  const view = new DataView(new ArrayBuffer(size * values.length));
  values.forEach((value, i) => WRITERS[dtype](view, i * size, value));
  return new Uint8Array(view.buffer);
}

function checkFingerprint({ shape, positions, dtype, values, samples, norm, sha256: digest }) {
  const found = reader.fingerprintPositions(shape);
  if (positions) return check(same(found, positions.map(BigInt)), "other positions");
  const equal = found.every((at, i) => Object.is(Math.fround(values[at]), samples[i]));
  check(equal && samples.length === 32, "other samples");
  check(Math.abs(Math.hypot(...values) - norm) <= 1e-9 * norm, "another norm");
  check(sha256(bytesAs(dtype, values)) === digest, "another SHA-256");
}

const ADAPTERS = ["valid", "invalid", "forward"];
const CHECKS = {
  numeric: checkDelta, sampling: checkEntries, kinds: checkKind, fingerprint: checkFingerprint,
};

const { vectors } = jsonOf("index.json");
const failures = [];
const skipped = vectors.filter(({ kind }) => kind === "hdf5");
for (const vector of vectors.filter(({ kind }) => kind !== "hdf5")) {
  try {
    for (const [file, digest] of Object.entries(vector.files)) {
      check(sha256(bytesOf(file)) === digest, `${file} is not the one of the index`);
    }
    if (ADAPTERS.includes(vector.kind)) checkAdapter(vector);
    else CHECKS[vector.kind](jsonOf(Object.keys(vector.files)[0]));
  } catch (error) {
    failures.push(vector.id);
    console.log(`${vector.kind}/${vector.id} (clause ${vector.clause}): ${error.message}`);
  }
}
console.log(`${skipped.length} HDF5 vectors left out`);
const tried = vectors.length - skipped.length;
console.log(`${tried - failures.length} passed, ${failures.length} failed`);
process.exitCode = failures.length > 0 ? 1 : 0;
