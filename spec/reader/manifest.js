// What a manifest and the tensors beside it must be: clauses 5.2 to 5.4, 6, 3.1 and 3.2.

import { isTransform } from "./delta.js";
import { FormatError } from "./json.js";

const KINDS = ["linear", "conv2d", "embedding", "einsum_dense"];
const LARGEST = 2 ** 31 - 1;
const LISTED = 65536;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// A check takes a value, the place where it stands, and `bad(code, where)`, to note a violation.
const typed = (holds, check) => (value, at, bad) =>
  holds(value) ? check?.(value, at, bad) : bad("E-FIELD-TYPE", at);
const rule = (code, holds) => (value, at, bad) => holds(value) || bad(code, at);
const text = typed((v) => typeof v === "string");
const textThat = (holds, code = "E-FIELD-VALUE") =>
  typed((v) => typeof v === "string", rule(code, holds));
const number = typed((v) => typeof v === "number");
const integer = (low, high) =>
  typed(Number.isInteger, rule("E-FIELD-VALUE", (v) => v >= low && v <= high));
const isWord = (v) => /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(v);
const word = textThat(isWord);
const isName = (v) => /^[^\u0000-\u001f\u007f-\u009f]{1,1024}$/u.test(v);
const name = textThat(isName);
const oneOf = (values, code) => textThat((v) => values.includes(v), code);
const list = (low, high, item) => typed(Array.isArray, (value, at, bad) => {
  if (value.length < low || value.length > high) return bad("E-FIELD-VALUE", at);
  value.forEach((v, i) => item(v, `${at}[${i}]`, bad));
});
const shape = list(2, 2, integer(1, LARGEST));
const isSeedText = (v) => /^(?:0|[1-9][0-9]{0,19})$/.test(v) && BigInt(v) < 2n ** 64n;
const seed = (value, at, bad) =>
  (typeof value === "string" ? textThat(isSeedText) : integer(0, Number.MAX_SAFE_INTEGER))(
    value, at, bad);
const anyObject = typed(isObject);
const numbers = typed(isObject, (value, at, bad) => {
  for (const [key, v] of Object.entries(value)) number(v, `${at}.${key}`, bad);
});
/** An object of clause 5.2: a field is [check], or [check, true] if it is required. */
const object = (fields) => typed(isObject, (value, at, bad) => {
  for (const [field, [check, required]] of Object.entries(fields)) {
    if (field in value) check(value[field], `${at}.${field}`, bad);
    else if (required) bad("E-FIELD-MISSING", `${at}.${field}`);
  }
  for (const [field, v] of Object.entries(value)) {
    const ignorable = isObject(v) && v.must_understand === false;
    if (!Object.hasOwn(fields, field) && !ignorable) bad("E-FIELD-UNKNOWN", `${at}.${field}`);
  }
});

const entrySet = {
  id: [word, true],
  shape: [shape, true],
  count: [integer(1, LARGEST), true],
  sampling: [object({
    method: [word, true], generator: [word], seed: [seed], parameters: [numbers],
  })],
  fingerprints: [object({ dtype: [oneOf(["F32", "F16", "BF16", "F64"]), true] })],
};
const target = {
  name: [name, true],
  kind: [oneOf(KINDS, "E-KIND-UNKNOWN"), true],
  shape: [shape, true],
  entries: [word, true],
  row: [integer(0, LARGEST), true],
  alpha: [number],
};
const VERSION = /^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$/;
const FIELDS = {
  format: [text, true],
  version: [textThat((v) => VERSION.test(v) && v.length < 12), true], // 1. and up to 9 digits
  transform: [textThat(isTransform, "E-TRANSFORM-UNKNOWN"), true],
  alpha: [number, true],
  entries: [list(1, 4096, object(entrySet)), true],
  targets: [list(1, LISTED, object(target)), true],
  seed: [seed],
  target_modules: [(v, at, bad) => (Array.isArray(v) ? list(0, LISTED, text) : text)(v, at, bad)],
  replacements: [list(0, LISTED, name)],
  base_model: [object({ name: [text], revision: [text], model_type: [text] })],
  producer: [object({ name: [text, true], version: [text] })],
  labels: [list(0, LISTED, text)],
  origin: [object({ format: [word, true], text: [text, true], name: [text] })],
  metadata: [anyObject],
};

/** Clauses 5.2 and 6: the manifest by itself. */
function checkStructure(manifest, bad) {
  const { format, version } = isObject(manifest) ? manifest : {};
  if (![undefined, "fourier-format"].includes(format)) {
    return bad("E-NOT-FOURIER-FORMAT", "manifest.format");
  }
  const major = typeof version === "string" && VERSION.exec(version)?.[1];
  if (major && major !== "1") return bad("E-VERSION", "manifest.version");
  object(FIELDS)(manifest, "manifest", bad);
}

/** Clause 5.3: which target belongs to which row of which set. */
function checkPairing({ entries, targets, replacements = [] }, bad) {
  const unique = (items, code, at) => {
    const seen = new Set();
    items.forEach((item, i) => seen.has(item) ? bad(code, `${at}[${i}]`) : seen.add(item));
    return seen.size === items.length;
  };
  unique(targets.map((t) => t.name), "E-TARGET-DUPLICATE", "manifest.targets");
  unique(replacements, "E-REPLACEMENT-DUPLICATE", "manifest.replacements");
  if (!unique(entries.map((s) => s.id), "E-ENTRIES-DUPLICATE", "manifest.entries")) return;
  const sets = new Map(entries.map((set) => [set.id, { set, rows: [] }]));
  let known = true;
  targets.forEach((t, i) => {
    const found = sets.get(t.entries);
    found?.rows.push(t.row);
    known &&= found !== undefined;
    if (!found) bad("E-TARGET-ENTRIES", `manifest.targets[${i}].entries`);
    else if (t.shape.some((n, axis) => n !== found.set.shape[axis])) {
      bad("E-TARGET-SHAPE", `manifest.targets[${i}].shape`);
    }
  });
  if (!known) return; // a set may lack just the target that names another
  for (const { set, rows } of sets.values()) {
    const complete = new Set(rows).size === rows.length && rows.every((r) => r < rows.length);
    if (!complete || rows.length === 0) bad("E-TARGET-ROW", `manifest.entries, set ${set.id}`);
  }
}

/** Clause 5.4, and the entries of clause 3.1. */
function checkTensors(manifest, bad, tensors) {
  const lengths = new Map();
  for (const { entries } of manifest.targets) lengths.set(entries, (lengths.get(entries) ?? 0) + 1);
  const expected = new Map();
  for (const { id, count, fingerprints } of manifest.entries) {
    const rows = lengths.get(id);
    expected.set(`entries/${id}`, [["I32"], [count, 2]]);
    expected.set(`coefficients/${id}`, [["F32", "F16", "BF16"], [rows, count]]);
    if (fingerprints === undefined) continue;
    expected.set(`fingerprints/${id}/samples`, [["F32"], [rows, 32]]);
    expected.set(`fingerprints/${id}/norm`, [["F64"], [rows]]);
    expected.set(`fingerprints/${id}/sha256`, [["U8"], [rows, 32]]);
  }
  for (const name of manifest.replacements ?? []) expected.set(`replacements/${name}`, []);

  const usable = new Set(); // the tensors that are as they must be, so that their values count
  for (const [name, [dtypes, dimensions]] of expected) {
    const found = tensors.get(name);
    const wrong = !found ? "E-TENSOR-MISSING"
      : dtypes && !dtypes.includes(found.dtype) ? "E-TENSOR-DTYPE"
      : dimensions && dimensions.join() !== found.shape.join() ? "E-TENSOR-SHAPE" : null;
    if (wrong) bad(wrong, name);
    else usable.add(name);
  }
  for (const [name, { dtype, values }] of tensors) {
    if (!expected.has(name)) {
      if (!isExtensionTensor(name, manifest)) bad("E-TENSOR-UNDECLARED", name);
    } else if (/F/.test(dtype) && !values.every(Number.isFinite)) bad("E-NUMBER-NONFINITE", name);
    else if (/^fingerprints\/[^/]*\/norm$/.test(name) && values.some((v) => v < 0)) {
      bad("E-FIELD-VALUE", name);
    }
  }
  for (const { id, shape: [out, into] } of manifest.entries) {
    const name = `entries/${id}`;
    if (usable.has(name)) checkEntries(tensors.get(name).values, out, into, name, bad);
  }
}

function isExtensionTensor(name, manifest) {
  const parts = /^extensions\/([^/]*)\/(.*)$/su.exec(name);
  return parts !== null && isWord(parts[1]) && isName(parts[2])
    && !Object.hasOwn(FIELDS, parts[1]) && parts[1] in manifest;
}

function checkEntries(values, out, into, name, bad) {
  const seen = new Set();
  let inside = true;
  for (let k = 0; k < values.length; k += 2) {
    const [u, v] = [values[k], values[k + 1]];
    inside &&= u >= 0 && u < out && v >= 0 && v < into;
    seen.add(`${u},${v}`);
  }
  if (!inside) bad("E-ENTRY-RANGE", name);
  if (seen.size < values.length / 2) bad("E-ENTRY-DUPLICATE", name);
}

/** Throws all violations of the first stage that has any: later stages build on earlier ones. */
export function checkAdapter(manifest, tensors) {
  for (const stage of [checkStructure, checkPairing, checkTensors]) {
    const violations = [];
    const bad = (code, where) => void violations.push({ code, where });
    stage(manifest, bad, tensors);
    if (violations.length > 0) throw new FormatError(violations);
  }
}
