// Light or dark: as the system says, until the switch is pressed.
import { byId } from "./dom.js";

const KEY = "theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

const stored = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
const now = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");

function show(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  byId("theme").textContent = now() === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Switch to ${byId("theme").textContent.toLowerCase()} colours`);
}

export function startTheme() {
  show(stored());
  dark.addEventListener("change", () => show(null));
  byId("theme").onclick = () => {
    const next = now() === "dark" ? "light" : "dark";
    try { localStorage.setItem(KEY, next); } catch { /* until the page is left, then */ }
    show(next);
  };
}
