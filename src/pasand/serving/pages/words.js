// Words for the items and for what users do with them, as the server describes its data.

export const words = { noun: "item", plural: "items", verb: "choose", past: "chose", done: "chosen" };

// Uses the words of a description of the service.
export const learn = (about) => Object.assign(words, about.words ?? {});

export const capital = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;

// Returns a number of items in words: 1 song, 12 songs.
export const nItems = (n, kind = "") =>
  `${Number(n).toLocaleString("en")} ${kind ? `${kind} ` : ""}${n === 1 ? words.noun : words.plural}`;

// Returns the noun with its article.
export const aNoun = () => `${/^[aeiou]/i.test(words.noun) ? "an" : "a"} ${words.noun}`;
