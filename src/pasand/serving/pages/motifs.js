// Chooses the motif of a poster by the genres of the film.

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

// Returns the name of a motif: of a genre other than drama if there is one, of any motif if no genre is known.
export function motifOf(genres, next) {
  const known = genres.filter((genre) => BY_GENRE[genre]);
  const specific = known.filter((genre) => genre !== "Drama");
  const chosen = (specific.length ? specific : known).flatMap((genre) => BY_GENRE[genre]);
  const names = chosen.length ? chosen : ["star", "tiles", "sun", "arch", "waves", "pair", "target"];
  return names[Math.floor(next() * names.length)];
}
