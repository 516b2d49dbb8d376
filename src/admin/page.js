"use strict";

// Every value is put in as text, never as markup: names come from configuration that others write.

const GOOD = new Set(["healthy", "ready", "ok", "true"]);
const BAD = new Set(["unhealthy", "failed", "error", "ejected", "expired"]);
const WARN = new Set(["warning", "draining", "unknown"]);
const STATES = new Set(["health", "healthy", "state", "status", "ready", "severity"]);

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function tone(key, value) {
  if (!STATES.has(key.toLowerCase())) return "";
  const word = String(value).toLowerCase();
  if (value === false || BAD.has(word)) return "bad";
  return GOOD.has(word) ? "good" : WARN.has(word) ? "warn" : "";
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function show(value, key = "") {
  if (value === null || value === undefined) return element("span", "–", "empty");
  if (Array.isArray(value)) {
    if (value.length === 0) return element("span", "none", "empty");
    if (value.every(isObject)) return grid(value);
    return element("span", value.map(item => typeof item === "object" ? JSON.stringify(item) : item).join(", "));
  }
  return isObject(value) ? pairs(value) : element("span", String(value), tone(key, value));
}

function grid(rows) {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  const table = element("table");
  const head = table.createTHead().insertRow();
  columns.forEach(column => head.append(element("th", column)));
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    columns.forEach(column => line.insertCell().append(show(row[column], column)));
  }
  return table;
}

function pairs(value) {
  const table = element("table");
  for (const [key, inner] of Object.entries(value)) {
    const line = table.insertRow();
    line.append(element("th", key));
    line.insertCell().append(show(inner, key));
  }
  return table;
}

async function ask(question) {
  const response = await fetch("/api/v1/" + question);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || response.statusText);
  return answer;
}

async function load(section) {
  let shown;
  let count = "";
  try {
    const answer = await ask(section.dataset.question);
    if (Array.isArray(answer)) count = ` (${answer.length})`;
    shown = show(answer);
  } catch (error) {
    shown = element("p", error.message, "bad");
  }
  const title = section.querySelector("h2");
  title.querySelector("small")?.remove();
  if (count) title.append(element("small", count));
  section.replaceChildren(title, shown);
  return !shown.classList.contains("bad");
}

async function loadAll() {
  const state = document.getElementById("state");
  const loaded = await Promise.all([...document.querySelectorAll("section[data-question]")].map(load));
  const time = new Date().toLocaleTimeString();
  state.textContent = loaded.every(Boolean) ? `as of ${time}` : `some answers are missing, as of ${time}`;
}

async function explain(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  const query = new URLSearchParams({ method: form.get("method"), url: form.get("url") });
  if (form.get("from").trim()) query.set("from", form.get("from").trim());
  form.get("headers").split("\n").filter(line => line.trim()).forEach(line => query.append("header", line));
  const shown = document.getElementById("explanation");
  shown.hidden = false;
  try {
    shown.className = "";
    shown.textContent = JSON.stringify(await ask("explain?" + query), null, 2);
  } catch (error) {
    shown.className = "bad";
    shown.textContent = error.message;
  }
}

document.getElementById("reload").addEventListener("click", loadAll);
document.getElementById("explain").addEventListener("submit", explain);
loadAll();
