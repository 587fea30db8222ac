// A reader of fourier-format 1.0, written from the specification alone. See README.md.

import { createHash } from "node:crypto";
import { FormatError, fail, parseJson } from "./json.js";
import { checkAdapter } from "./manifest.js";

export { FormatError };
export * from "./delta.js";

const MOST_HEADER = 100_000_000;
const MOST_MANIFEST = 16_777_216;
const LARGEST = 2 ** 31 - 1;
const HDF5 = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a];

// For each dtype: bytes of an element, the array of its values, how one is read at an offset.
const DTYPES = {
  BOOL: [1, Uint8Array, (view, at) => view.getUint8(at)],
  U8: [1, Uint8Array, (view, at) => view.getUint8(at)],
  U16: [2, Uint16Array, (view, at) => view.getUint16(at, true)],
  U32: [4, Uint32Array, (view, at) => view.getUint32(at, true)],
  U64: [8, BigUint64Array, (view, at) => view.getBigUint64(at, true)],
  I8: [1, Int8Array, (view, at) => view.getInt8(at)],
  I16: [2, Int16Array, (view, at) => view.getInt16(at, true)],
  I32: [4, Int32Array, (view, at) => view.getInt32(at, true)],
  I64: [8, BigInt64Array, (view, at) => view.getBigInt64(at, true)],
  F16: [2, Float32Array, (view, at) => half(view.getUint16(at, true))],
  BF16: [2, Float32Array, (view, at) => bfloat(view.getUint16(at, true))],
  F32: [4, Float32Array, (view, at) => view.getFloat32(at, true)],
  F64: [8, Float64Array, (view, at) => view.getFloat64(at, true)],
};

function half(bits) {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

function bfloat(bits) {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits << 16);
  return view.getFloat32(0);
}

const utf8 = (text) => new TextEncoder().encode(text);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const byName = ([a], [b]) => Buffer.compare(utf8(a), utf8(b));

/** Returns { manifest, tensors, digest }; `tensors` maps names to { dtype, shape, values }. */
export function readAdapter(bytes) {
  if (HDF5.every((byte, i) => bytes[i] === byte)) fail("E-DEPENDENCY-MISSING", "an HDF5 file");
  const { text, stated, tensors } = readContainer(bytes);
  if (utf8(text).length > MOST_MANIFEST) fail("E-JSON-SIZE", "manifest");
  const digest = digestOf(text, tensors);
  if (digest !== stated) fail("E-DIGEST", "__metadata__.fourier_format_sha256");
  const manifest = parseJson(text, "manifest");
  for (const tensor of tensors.values()) {
    const [size, Values, read] = DTYPES[tensor.dtype];
    const { buffer, byteOffset, byteLength } = tensor.bytes;
    const view = new DataView(buffer, byteOffset, byteLength);
    tensor.values = new Values(byteLength / size);
    for (let i = 0; i < tensor.values.length; i += 1) tensor.values[i] = read(view, i * size);
  }
  checkAdapter(manifest, tensors);
  return { manifest, tensors, digest };
}

/** Clause 4.1. */
function readContainer(bytes) {
  if (bytes.length < 8) fail("E-CONTAINER-TRUNCATED", "header length");
  const length = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (length > MOST_HEADER) fail("E-CONTAINER-HEADER", "header length");
  const start = 8 + Number(length);
  if (start > bytes.length) fail("E-CONTAINER-TRUNCATED", "header");
  const header = parseJson(decodeHeader(bytes.subarray(8, start)), "header", true);
  if (!(header instanceof Map)) fail("E-CONTAINER-HEADER", "header");
  const metadata = checkMetadata(header.get("__metadata__"));

  const tensors = new Map();
  let end = 0;
  for (const [name, member] of header) {
    if (name === "__metadata__") continue;
    const { dtype, shape, offsets } = checkMember(name, member);
    const size = shape.reduce((a, b) => a * BigInt(b), BigInt(DTYPES[dtype][0]));
    if (offsets[0] !== end || BigInt(offsets[1]) - BigInt(end) !== size) {
      fail("E-CONTAINER-OFFSETS", name);
    }
    end = offsets[1];
    if (start + end > bytes.length) fail("E-CONTAINER-TRUNCATED", name);
    tensors.set(name, { dtype, shape, bytes: bytes.subarray(start + offsets[0], start + end) });
  }
  if (start + end < bytes.length) fail("E-CONTAINER-OFFSETS", "end of file");
  const canonical = utf8(encodeHeader(header));
  const padded = Buffer.alloc(Math.ceil(canonical.length / 8) * 8, " ");
  padded.set(canonical);
  if (!padded.equals(bytes.subarray(8, start))) fail("E-CONTAINER-CANONICAL", "header");
  return {
    text: metadata.get("fourier_format"),
    stated: metadata.get("fourier_format_sha256"),
    tensors,
  };
}

function decodeHeader(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return fail("E-CONTAINER-HEADER", "header");
  }
}

function checkMetadata(metadata) {
  if (!(metadata instanceof Map && metadata.has("fourier_format"))) {
    fail("E-NOT-FOURIER-FORMAT", "__metadata__");
  }
  const exact = metadata.size === 2 && metadata.has("fourier_format_sha256")
    && [...metadata.values()].every((value) => typeof value === "string");
  return exact ? metadata : fail("E-CONTAINER-HEADER", "__metadata__");
}

function checkMember(name, member) {
  const natural = (n) => Number.isInteger(n) && n >= 0;
  const integers = (value) => Array.isArray(value) && value.every(natural);
  const get = (field) => (member instanceof Map ? member.get(field) : undefined);
  const [dtype, shape, offsets] = ["dtype", "shape", "data_offsets"].map(get);
  const exact = member?.size === 3 && dtype !== undefined && integers(shape)
    && integers(offsets) && offsets.length === 2;
  if (!exact) fail("E-CONTAINER-HEADER", name);
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPES, dtype)) fail("E-CONTAINER-DTYPE", name);
  if (shape.length > 8 || shape.some((n) => n < 1 || n > LARGEST)) fail("E-LIMIT", name);
  return { dtype, shape, offsets };
}

/** Clause 4.2, without the padding. */
function encodeHeader(header) {
  const metadata = header.get("__metadata__");
  const tensors = [...header].filter(([name]) => name !== "__metadata__").sort(byName);
  const size = ([, member]) => DTYPES[member.get("dtype")][0];
  tensors.sort((a, b) => size(b) - size(a)); // a stable sort: names decide among equals
  const ordered = (map, keys) =>
    `{${keys.map((key) => `${JSON.stringify(key)}:${JSON.stringify(map.get(key))}`).join()}}`;
  const members = tensors.map(([name, member]) =>
    `,${JSON.stringify(name)}:${ordered(member, ["dtype", "shape", "data_offsets"])}`);
  const first = ordered(metadata, ["fourier_format", "fourier_format_sha256"]);
  return `{"__metadata__":${first}${members.join("")}}`;
}

/** Clause 4.3. */
function digestOf(text, tensors) {
  const lines = [...tensors].sort(byName).map(([name, { dtype, shape, bytes }]) =>
    `tensor\t${name}\t${dtype}\t${shape.join()}\t${sha256(bytes)}\n`);
  return sha256(`fourier-format digest 1\nmanifest\t${sha256(text)}\n${lines.join("")}`);
}
