// Writes the delta weights of an adapter, target by target: node in_javascript.mjs ADAPTER OUTPUT

import { readFileSync, writeFileSync } from "node:fs";
import { deltaValue, readAdapter } from "../../spec/reader/fourier_format.js";

const [adapter, output] = process.argv.slice(2);
const { manifest, tensors } = readAdapter(new Uint8Array(readFileSync(adapter)));
const found = manifest.targets.flatMap(({ entries, row, shape, alpha = manifest.alpha }) => {
  const places = tensors.get(`entries/${entries}`).values;
  const { shape: [, n], values } = tensors.get(`coefficients/${entries}`);
  const coefficients = values.slice(row * n, (row + 1) * n);
  const [out, into] = shape;
  return Array.from({ length: out * into }, (_, cell) => deltaValue(
    manifest.transform, places, coefficients, shape, alpha, Math.floor(cell / into), cell % into,
  ));
});
writeFileSync(output, new Float64Array(found));
