// Requests to the server, with measured latencies; a failure is one of three error classes.

export class ServerUnreachable extends Error {}
export class KeyNeeded extends Error {}
export class RequestFailed extends Error {
  constructor(status, { code = "", message = "", field = null } = {}) {
    super(message || `the server returned status ${status}`);
    Object.assign(this, { status, code, field });
  }
}

const KEPT = 60;
export const latencies = { milliseconds: [], changes: new EventTarget() };
let key = storedKey();

function storedKey() {
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
    // the key holds for this page only
  }
}

// Returns the JSON of the response: POST with a body, else GET.
// Throws ServerUnreachable (no response), KeyNeeded (401, 403) or RequestFailed (any other error).
export async function request(path, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers.Authorization = `Bearer ${key}`;
  const method = body === undefined ? "GET" : "POST";
  const start = performance.now();
  let response, content;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    content = await response.text();
  } catch {
    throw new ServerUnreachable("no response");
  }
  if (path !== "v1/about") record(performance.now() - start);
  const json = parsed(content);
  if (response.ok && json) return json;
  if (response.status === 401 || response.status === 403) throw new KeyNeeded(json?.error?.message);
  if ([502, 503, 504].includes(response.status) && !json?.error)
    throw new ServerUnreachable(`the server returned status ${response.status}`);
  throw new RequestFailed(response.status, json?.error);
}

function parsed(content) {
  try {
    return JSON.parse(content);
  } catch {
    return null;
  }
}

function record(milliseconds) {
  latencies.milliseconds = [...latencies.milliseconds, milliseconds].slice(-KEPT);
  latencies.changes.dispatchEvent(new Event("change"));
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

// Returns an id, which may be any text, as a segment of a path.
const segment = (id) => encodeURIComponent(id);

const filmsOf = (response) => (response.items ?? []).map(film);

// Returns an item of the catalogue in the form of a card: language, year, genres and price beside the title.
export function film({ features = {}, ...item }) {
  const genres = features.genres ?? features.genre ?? features.categories ?? features.category;
  const language = [features.language ?? features.languages].flat()[0];
  const price = typeof features.price === "number" ? features.price : undefined;
  return { language, year: features.year, genres: genres && [genres].flat(), price, ...item };
}

export const hasKey = () => Boolean(key);
export const report = () => fetch("report", { headers: key ? { Authorization: `Bearer ${key}` } : {} });
export const audit = () => request("v1/audit");
export const about = () => request("v1/about");
export const view = (userId) => request(`v1/users/${segment(userId)}/view`);
export const item = (itemId) => request(`v1/items/${segment(itemId)}`);
export const similar = (itemId, k = 12) => request(`v1/items/${segment(itemId)}/similar?k=${k}`).then(filmsOf);
export const explain = (userId, itemId) =>
  request(`v1/explain?user_id=${segment(userId)}&item_id=${segment(itemId)}`);
// Returns what a new user should rate next: items, how many of them were chosen by the responses, and a value or null.
export const onboarding = (body) =>
  request("v1/onboarding", body).then((found) => ({ films: filmsOf(found), n: found.n_chosen, value: found.value }));
export const events = (list) => request("v1/events", { events: list });

export function items({ search = "", language = "", k = 24 } = {}) {
  const given = Object.entries({ search, language, k }).filter(([, value]) => value);
  return request(`v1/items?${new URLSearchParams(given)}`).then(filmsOf);
}

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
