(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const chosen = localStorage.getItem("oncall-theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch (_denied) { /* the browser keeps nothing for files: the system's theme it is */ }
})();
