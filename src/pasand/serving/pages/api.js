// Requests to the server, measured; what goes wrong is one of three errors that the page can word.

export class Gone extends Error {}
export class KeyNeeded extends Error {}
export class Refused extends Error {
  constructor(status, { code = "", message = "", field = null } = {}) {
    super(message || `the server answered ${status}`);
    Object.assign(this, { status, code, field });
  }
}

const KEPT = 60;
export const measured = { times: [], watch: new EventTarget() };
let key = stored();

function stored() {
  try {
    return sessionStorage.getItem("pasand.key");
  } catch {
    return null;
  }
}

export function useKey(text) {
  key = text;
  try {
    sessionStorage.setItem("pasand.key", text);
  } catch {
    // kept for this page alone
  }
}

// Returns the JSON answer. Raises Gone (nothing answers), KeyNeeded (401, 403), Refused (any other error).
export async function ask(path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  const method = body === undefined ? "GET" : "POST";
  const start = performance.now();
  let answer, content;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    content = await answer.text();
  } catch {
    throw new Gone("nothing answers");
  }
  if (path !== "v1/about") measure(performance.now() - start);
  const told = parsed(content);
  if (answer.ok && told) return told;
  if (answer.status === 401 || answer.status === 403) throw new KeyNeeded(told?.error?.message);
  if ([502, 503, 504].includes(answer.status) && !told?.error) throw new Gone(`the server answered ${answer.status}`);
  throw new Refused(answer.status, told?.error);
}

function parsed(content) {
  try {
    return JSON.parse(content);
  } catch {
    return null;
  }
}

function measure(milliseconds) {
  measured.times = [...measured.times, milliseconds].slice(-KEPT);
  measured.watch.dispatchEvent(new Event("measured"));
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

// Returns the path of an id; ids are any text.
const of = (id) => encodeURIComponent(id);

const listed = (answer) => (answer.items ?? []).map(film);

// Returns an item in the form of a card: what a poster needs stands beside the title, not among the features.
export function film({ features = {}, ...told }) {
  const genres = features.genres ?? features.genre;
  const language = [features.language ?? features.languages].flat()[0];
  return { language, year: features.year, genres: genres && [genres].flat(), ...told };
}

export const about = () => ask("v1/about");
export const view = (user) => ask(`v1/users/${of(user)}/view`);
export const item = (id) => ask(`v1/items/${of(id)}`);
export const similar = (id, k = 12) => ask(`v1/items/${of(id)}/similar?k=${k}`).then(listed);
export const explain = (user, id) => ask(`v1/explain?user=${of(user)}&item=${of(id)}`);
export const events = (list) => ask("v1/events", { events: list });

export function items({ search = "", language = "", k = 24 } = {}) {
  const given = Object.entries({ search, language, k }).filter(([, value]) => value);
  return ask(`v1/items?${new URLSearchParams(given)}`).then(listed);
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
