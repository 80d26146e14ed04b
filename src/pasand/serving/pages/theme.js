// Runs before the first paint, so that a remembered theme does not flash; the switch itself is in app.js.
(() => {
  try {
    const theme = localStorage.getItem("pasand.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage may be barred; the system's theme holds
  }
})();
