// Which motif a film gets: one of its genres decides.

const BY_GENRE = {
  Action: ["shards", "rays"],
  Adventure: ["mountains"],
  Animation: ["tiles"],
  Biography: ["bust"],
  Children: ["houses", "tiles"],
  Comedy: ["tiles"],
  Crime: ["blinds", "target"],
  Documentary: ["bust", "steps"],
  Drama: ["sun", "arch", "moon", "steps"],
  Family: ["houses"],
  Fantasy: ["star"],
  Horror: ["eye"],
  Musical: ["waves", "record"],
  Mystery: ["keyhole"],
  Romance: ["pair"],
  "Sci-Fi": ["orbits"],
  Sport: ["lanes"],
  Thriller: ["target", "blinds"],
  War: ["chevrons"],
  Western: ["mountains", "sun"],
};

// Returns the name of a motif: of a genre more telling than drama where there is one, of any where none is known.
export function motifOf(genres, next) {
  const known = genres.filter((genre) => BY_GENRE[genre]);
  const telling = known.filter((genre) => genre !== "Drama");
  const chosen = (telling.length ? telling : known).flatMap((genre) => BY_GENRE[genre]);
  const names = chosen.length ? chosen : ["star", "tiles", "sun", "arch", "waves", "pair", "target"];
  return names[Math.floor(next() * names.length)];
}
