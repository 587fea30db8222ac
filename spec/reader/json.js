// The JSON profile of clause 5.1, and the error that every part of the reader throws.

/** A file that the format forbids; `violations` lists each broken rule as { code, where }. */
export class FormatError extends Error {
  constructor(violations) {
    super(violations.map(({ code, where }) => `${code} at ${where}`).join("; "));
    this.name = "FormatError";
    this.violations = violations;
    this.code = violations[0].code;
    this.where = violations[0].where;
  }
}

export function fail(code, where) {
  throw new FormatError([{ code, where }]);
}

const DEEPEST = 32;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
const NOT_FINITE = /NaN|-?Infinity/y;
const WORDS = [["true", true], ["false", false], ["null", null]];

/** Objects become null-prototype objects, or Maps (which keep the members' order) if `maps`. */
export function parseJson(text, where, maps = false) {
  let at = 0;
  let depth = 0;

  const bad = (code) => fail(code, `${where}, character ${at}`);
  const match = (pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  const peek = () => {
    at += match(SPACE)[0].length;
    return text[at];
  };
  const take = (character) => {
    if (peek() !== character) return false;
    at += 1;
    return true;
  };

  function string() {
    const start = at;
    if (!take('"')) bad("E-JSON-SYNTAX");
    for (; text[at] !== '"'; at += text[at] === "\\" ? 2 : 1) {
      if (at >= text.length) bad("E-JSON-SYNTAX");
    }
    at += 1;
    let value;
    try {
      value = JSON.parse(text.slice(start, at)); // one token: it checks and resolves the escapes
    } catch {
      bad("E-JSON-SYNTAX");
    }
    return value.isWellFormed() ? value : bad("E-JSON-SURROGATE");
  }

  function number() {
    if (match(NOT_FINITE)) bad("E-JSON-NUMBER");
    const found = match(NUMBER);
    if (!found) bad("E-JSON-SYNTAX");
    const value = Number(found[0]);
    const exact = found[1] || found[2] || Math.abs(value) <= Number.MAX_SAFE_INTEGER;
    if (!Number.isFinite(value) || !exact) bad("E-JSON-NUMBER");
    at += found[0].length;
    return value;
  }

  function list(closing, item) {
    at += 1;
    if (++depth > DEEPEST) bad("E-JSON-DEPTH");
    if (!take(closing)) {
      do item(); while (take(","));
      if (!take(closing)) bad("E-JSON-SYNTAX");
    }
    depth -= 1;
  }

  function value() {
    const next = peek();
    if (next === '"') return string();
    if (next === "[") {
      const items = [];
      list("]", () => items.push(value()));
      return items;
    }
    if (next === "{") {
      const members = new Map();
      list("}", () => {
        peek();
        const key = string();
        if (members.has(key)) bad("E-JSON-DUPLICATE-KEY");
        if (!take(":")) bad("E-JSON-SYNTAX");
        members.set(key, value());
      });
      // A null prototype makes "__proto__" a name like every other.
      return maps ? members : Object.assign(Object.create(null), Object.fromEntries(members));
    }
    for (const [word, meaning] of WORDS) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    }
    return number();
  }

  const whole = value();
  if (peek() !== undefined) bad("E-JSON-SYNTAX");
  return whole;
}
