// What the keyboard and two switches do. Everything else works without this file.
"use strict";

const root = document.documentElement;

function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // A browser that keeps nothing shows its own choice again on the next page.
  }
}

function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

// Before anything is drawn, so that no page flashes in the other scheme.
const theme = kept("theme");
if (theme === "light" || theme === "dark") root.dataset.theme = theme;
if (kept("boxes") === "off") root.classList.add("no-boxes");

function switchTheme() {
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  keep("theme", root.dataset.theme);
}

function showBoxes(areShown) {
  root.classList.toggle("no-boxes", !areShown);
  keep("boxes", areShown ? "on" : "off");
  const toggle = document.getElementById("boxes-toggle");
  if (toggle) toggle.checked = areShown;
}

function go(name) {
  const link = document.querySelector(`[data-go="${name}"]`);
  if (link) link.click();
  return Boolean(link);
}

// In a list, to the next or previous dialogue; in a dialogue, to the one beside it.
function step(by) {
  const links = [...document.querySelectorAll(".entry .open")];
  if (!links.length) return go(by > 0 ? "next" : "previous");
  const at = links.indexOf(document.activeElement);
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
  if (next) next.focus();
  return true;
}

function showKeys() {
  const dialog = document.getElementById("keys");
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

function search() {
  const field = document.getElementById("words");
  if (field) field.focus();
  else location.assign("/dialogues#words");
}

const KEYS = {
  "/": search,
  "?": showKeys,
  j: () => step(1),
  k: () => step(-1),
  ArrowRight: () => go("next"),
  ArrowLeft: () => go("previous"),
  u: () => go("up"),
  b: () => showBoxes(root.classList.contains("no-boxes")),
  t: switchTheme,
};

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, select, textarea");
  if (isTyping && event.key === "Escape") event.target.blur();
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.getElementById("keys").open && event.key !== "?") return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".tools").hidden = false;
  document.getElementById("theme-button").addEventListener("click", switchTheme);
  document.getElementById("keys-button").addEventListener("click", showKeys);
  const toggle = document.getElementById("boxes-toggle");
  if (toggle) {
    toggle.checked = !root.classList.contains("no-boxes");
    toggle.addEventListener("change", () => showBoxes(toggle.checked));
  }
  // A filter without a value says nothing: it need not stand in the address.
  for (const form of document.querySelectorAll("form.filters")) {
    form.addEventListener("formdata", (event) => {
      for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
    });
  }
  // Wide screens have room for the filters.
  const more = document.querySelector(".more");
  if (more && matchMedia("(min-width: 54rem)").matches) more.open = true;
  if (location.hash === "#words") search();
});
