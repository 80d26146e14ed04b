// Applies the stored theme before the first paint, so that the other one does not flash; the switch is in app.js.
(() => {
  try {
    const theme = localStorage.getItem("pasand.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage may be blocked; the theme of the system applies
  }
})();
