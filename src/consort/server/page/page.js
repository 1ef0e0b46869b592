// The page: everything that comes from a model or a person is set as text, never as markup.
const byId = (id) => document.getElementById(id);
const state = { models: [], trees: new Map(), histories: new Map(), busy: null, tab: "chat" };
const MOST = 6;

function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function notice(text) {
  byId("notice").hidden = !text;
  byId("notice").textContent = text || "";
}

async function asked(path, body, signal) {
  const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { ...options, signal });
  if (!answer.ok) {
    let message = `${answer.status} ${answer.statusText}`;
    try { message = (await answer.json()).error.message; } catch { /* not JSON: the status says enough */ }
    throw new Error(message);
  }
  return answer;
}

// ---- models ----
const picked = () => [...document.querySelectorAll("#models input:checked")].map((box) => box.value);

async function load() {
  const [models, trees] = await Promise.all([asked("/v1/models"), asked("/consort/models")]);
  state.models = (await models.json()).data;
  for (const one of (await trees.json()).models) state.trees.set(one.id, one);
  const wanted = decodeURIComponent(location.hash.slice(1)).split(",").filter(Boolean);
  const known = new Set(state.models.map((model) => model.id));
  const first = wanted.filter((id) => known.has(id));
  const ticked = new Set(first.length ? first : [state.models[0]?.id]);
  byId("models").append(...state.models.map((model) => {
    const box = make("input", { type: "checkbox", value: model.id });
    box.checked = ticked.has(model.id);
    const about = model.consort.members.length ? `${model.consort.strategy} of ${model.consort.members.length}` : model.consort.strategy;
    return make("label", { class: "model" }, box, make("span", { class: "name", text: model.id }), make("span", { class: "quiet", text: about }));
  }));
  byId("models").addEventListener("change", pick);
  if (matchMedia("(max-width: 760px)").matches) byId("side").open = false;
  pick();
}

function pick(event) {
  let ids = picked();
  if (ids.length > MOST) {
    event.target.checked = false;
    ids = picked();
    notice(`At most ${MOST} models side by side.`);
  }
  byId("picked").textContent = ids.length === 1 ? ids[0] : `${ids.length} side by side`;
  history.replaceState(null, "", ids.length ? `#${ids.map(encodeURIComponent).join(",")}` : "#");
  const columns = byId("columns");
  const shown = new Map([...columns.querySelectorAll(".column")].map((column) => [column.dataset.model, column]));
  columns.replaceChildren(...ids.map((id) => shown.get(id) || column(id)));
  if (!ids.length) columns.append(make("p", { class: "empty", text: "Tick a model to begin; tick two or more to see their answers side by side." }));
  drawPlan();
}

function column(id) {
  const made = make("div", { class: "column" }, make("h2", { text: id }));
  made.dataset.model = id;
  state.histories.set(id, state.histories.get(id) || []);
  for (const turn of state.histories.get(id)) made.append(bubble(turn.role === "user", turn.content));
  return made;
}

function bubble(mine, text) {
  return make("div", { class: mine ? "turn mine" : "turn" }, make("div", { class: "said", text }));
}

// ---- chat ----
const settings = () => {
  const number = (id, otherwise) => (byId(id).value === "" || Number.isNaN(+byId(id).value) ? otherwise : +byId(id).value);
  return { temperature: number("temperature", 0), top_p: number("top_p", 1), max_tokens: Math.round(number("max_tokens", 256)), seed: Math.round(number("seed", 0)) };
};

function withSystem(turns) {
  const system = byId("system").value.trim();
  return system ? [{ role: "system", content: system }, ...turns] : turns;
}

async function send(text) {
  const ids = picked();
  if (!ids.length) { notice("Tick a model first."); return; }
  notice("");
  const control = new AbortController();
  state.busy = control;
  setBusy(true);
  try {
    if (state.tab === "tokens") await tokens(text, ids, control.signal);
    else await Promise.all(ids.map((id) => ask(id, text, control.signal)));
  } finally {
    state.busy = null;
    setBusy(false);
  }
}

function setBusy(busy) {
  byId("send").disabled = busy;
  byId("stop").disabled = !busy;
}

async function ask(id, text, signal) {
  const turns = state.histories.get(id);
  turns.push({ role: "user", content: text });
  const place = document.querySelector(`.column[data-model="${CSS.escape(id)}"]`);
  const answer = bubble(false, "");
  const said = answer.querySelector(".said");
  said.classList.add("wait");
  place.append(bubble(true, text), answer);
  follow();
  const begun = performance.now();
  let whole = "", first = null, account = null, usage = null;
  try {
    const body = { model: id, messages: withSystem(turns), stream: true, stream_options: { include_usage: true }, ...settings() };
    const reply = await asked("/v1/chat/completions", body, signal);
    for await (const event of events(reply)) {
      if (event.error) throw new Error(event.error.message);
      const piece = event.choices?.[0]?.delta?.content || "";
      if (piece && first === null) first = performance.now() - begun;
      whole += piece;
      if (piece) { said.textContent = whole; follow(); }
      account = event.consort || account;
      usage = event.usage || usage;
    }
  } catch (error) {
    answer.append(make("div", { class: "facts" }, make("span", { class: "warn", text: error.name === "AbortError" ? "stopped" : error.message })));
  }
  said.classList.remove("wait");
  turns.push({ role: "assistant", content: whole });
  if (account) answer.append(facts(account, usage, performance.now() - begun, first));
  follow();
}

// Keep the end in sight, downwards only, for whoever has not scrolled away from it.
function follow() {
  const view = byId("chat");
  if (view.scrollHeight - view.scrollTop - view.clientHeight < 240) view.scrollTop = view.scrollHeight;
}

async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

function facts(account, usage, ms, first) {
  const box = make("div", { class: "facts" });
  const line = (name, value, kind) => box.append(make("span", kind ? { class: kind } : {}, make("b", { text: `${name} ` }), value));
  if (account.chosen) line("answered by", account.chosen);
  if (account.why) line("why", account.why);
  for (const name of ["scores", "confidence", "votes"]) if (account[name]) bars(box, name, account[name]);
  if (account.speculation) {
    const told = account.speculation;
    const share = told.acceptance === null || told.acceptance === undefined ? "" : `, ${Math.round(100 * told.acceptance)} % of guesses stood`;
    line("speculation", `${told.rounds} rounds${share}`);
  }
  const dropped = Object.entries(account.dropped || {});
  if (dropped.length) line("left out", dropped.map(([name, why]) => `${name} (${why})`).join(", "), "warn");
  const cost = Object.entries(account.cost || {});
  line("cost", cost.map(([name, c]) => `${name}: ${c.prompt_tokens}+${c.completion_tokens} tokens, ${(1000 * c.seconds).toFixed(0)} ms`).join(" · "));
  const rate = usage && ms > 0 ? `, ${(1000 * usage.completion_tokens / ms).toFixed(0)} tokens/s` : "";
  line("time", `${ms.toFixed(0)} ms${first === null ? "" : `, first text after ${first.toFixed(0)} ms`}${rate}`);
  return box;
}

function bars(box, title, values) {
  if (typeof values !== "object" || Array.isArray(values)) { box.append(make("span", { text: `${title} ${JSON.stringify(values)}` })); return; }
  const numbers = Object.entries(values).filter(([, v]) => typeof v === "number");
  const others = Object.entries(values).filter(([, v]) => typeof v !== "number");
  if (others.length) box.append(make("span", {}, make("b", { text: `${title} ` }), others.map(([name, v]) => `${name}: ${typeof v === "string" ? v : JSON.stringify(v)}`).join(", ")));
  if (!numbers.length) return;
  const most = Math.max(1e-9, ...numbers.map(([, v]) => Math.abs(v)));
  box.append(make("b", { text: title }));
  for (const [name, value] of numbers) box.append(bar(name, value, Math.abs(value) / Math.max(most, 1e-9)));
}

function bar(name, value, share, colour) {
  const fill = make("div", { class: typeof value === "number" && value < 0 ? "fill minus" : "fill" });
  fill.style.setProperty("--share", `${Math.round(100 * Math.min(1, share))}%`);
  if (colour) fill.style.setProperty("--colour", `var(${colour})`);
  const shown = typeof value === "number" ? (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3)) : String(value);
  return make("div", { class: "bar" }, make("span", { class: "label", text: name, title: name }), make("div", { class: "track" }, fill), make("span", { class: "value", text: shown }));
}

// ---- tokens ----
async function tokens(text, ids, signal) {
  const id = ids[0];
  const body = { model: id, messages: withSystem([{ role: "user", content: text }]), ...settings() };
  delete body.top_p;
  body.max_tokens = Math.min(body.max_tokens, 512);
  byId("stream").replaceChildren(make("span", { class: "quiet", text: `${id} …` }));
  byId("detail").replaceChildren();
  try {
    const found = await (await asked("/consort/view", body, signal)).json();
    drawTokens(found);
  } catch (error) {
    byId("stream").replaceChildren();
    if (error.name !== "AbortError") notice(error.message);
  }
}

const colourOf = (index) => `--m${index % 8}`;

function drawTokens(found) {
  byId("legend").replaceChildren(make("b", { text: found.model }), ...found.movers.map((name, i) => {
    const chip = make("span", { class: "chip", text: name });
    chip.style.setProperty("--colour", `var(${colourOf(i)})`);
    return chip;
  }));
  if (!found.movers.length) byId("legend").append(make("span", { class: "quiet", text: "no members with weights: colours show how unsure the model was" }));
  const spans = found.tokens.map((token, at) => tokenSpan(found, token, at));
  byId("stream").replaceChildren(...spans);
  if (spans.length) select(found, spans, 0, false);
}

function tokenSpan(found, token, at) {
  const span = make("span", { class: "token", role: "option", tabindex: at ? "-1" : "0", text: token.text, "aria-selected": "false" });
  let colour = "--m7", strength = Math.min(0.7, token.entropy / 8);
  if (token.moved.length) {
    const best = token.moved.reduce((a, v, i) => (v > token.moved[a] ? i : a), 0);
    colour = colourOf(best);
    strength = Math.min(0.75, Math.max(0, token.moved[best]) / 1.5);
  }
  span.style.setProperty("--colour", `var(${colour})`);
  span.style.setProperty("--strength", strength.toFixed(3));
  const spans = () => [...byId("stream").children];
  span.addEventListener("mouseenter", () => select(found, spans(), at, false));
  span.addEventListener("focus", () => select(found, spans(), at, false));
  span.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? found.tokens.length - 1 : step ? at + step : null;
    if (to === null || to < 0 || to >= found.tokens.length) return;
    event.preventDefault();
    select(found, spans(), to, true);
  });
  return span;
}

function select(found, spans, at, focus) {
  spans.forEach((span, i) => {
    span.setAttribute("aria-selected", String(i === at));
    span.tabIndex = i === at ? 0 : -1;
  });
  if (focus) spans[at].focus();
  const token = found.tokens[at];
  const detail = byId("detail");
  detail.replaceChildren(make("h2", { text: JSON.stringify(token.text) }), make("div", { class: "quiet", text: `token ${at + 1} of ${found.tokens.length} · entropy ${token.entropy.toFixed(2)} bits · disagreement ${token.disagreement.toFixed(3)} bits` }));
  detail.append(make("h3", { text: "probability of this token" }), bar("together", token.p, token.p));
  found.members.forEach((name, i) => {
    const mover = found.movers.indexOf(name);
    detail.append(bar(name, token.members[i], token.members[i], colourOf(mover < 0 ? i : mover)));
  });
  if (token.moved.length) {
    const most = Math.max(0.5, ...token.moved.map(Math.abs));
    detail.append(make("h3", { text: "moved it by (nats)" }));
    token.moved.forEach((value, i) => detail.append(bar(found.movers[i], value, Math.abs(value) / most, colourOf(i))));
  }
  detail.append(make("h3", { text: "likeliest in its place" }));
  for (const [text, p] of token.likeliest) detail.append(bar(JSON.stringify(text), p, p));
}

// ---- plan ----
function drawPlan() {
  const ids = picked();
  byId("trees").replaceChildren(...ids.map((id) => {
    const one = state.trees.get(id);
    const streams = { tokens: "streams its tokens", accepted: "streams once a member is accepted", end: "answers at the end" }[one.streams];
    const root = branch(one.tree);
    return make("div", {}, make("h2", { text: id }), make("p", { class: "quiet", text: streams }), make("ul", { class: "tree" }, root));
  }));
  if (!ids.length) byId("trees").append(make("p", { class: "empty", text: "Tick a model to see what it is made of." }));
}

function branch(node) {
  const made = make("li", {}, make("span", { text: node.members.length ? node.kind : node.name }));
  const told = Object.entries(node.settings).filter(([, v]) => v !== null && v !== "").map(([k, v]) => `${k} ${Array.isArray(v) ? v.join(", ") : v}`);
  if (!node.members.length) told.unshift(node.kind);
  if (node.window) told.push(`window ${node.window}`);
  if (told.length) made.append(make("span", { class: "quiet", text: `  ${told.join(" · ")}` }));
  if (node.members.length) made.append(make("ul", {}, ...node.members.map(branch)));
  return made;
}

// ---- zoo ----
const count = (value) => (value >= 1e9 ? `${(value / 1e9).toFixed(1)} B` : value >= 1e6 ? `${(value / 1e6).toFixed(1)} M` : value >= 1e3 ? `${(value / 1e3).toFixed(0)} K` : String(value ?? ""));

function table(heads, rows) {
  const cell = (kind, value) => (value instanceof Node ? value : make(kind, kind === "th" ? { scope: "col", text: value } : { text: value }));
  const line = (values, kind) => make("tr", {}, ...values.map((value) => cell(kind, value)));
  return make("table", {}, make("thead", {}, line(heads, "th")), make("tbody", {}, ...rows.map((row) => line(row, "td"))));
}

async function drawZoo() {
  if (state.zoo) return;
  state.zoo = true;
  byId("animals").replaceChildren(make("p", { class: "quiet", text: "The weights are being read …" }));
  try {
    const found = await (await asked("/consort/zoo")).json();
    const rows = found.models.map((m) => [m.id, m.architecture, count(m.parameters), `${m.layers ?? "?"} × ${m.width ?? "?"}`, count(m.vocabulary), count(m.window)]);
    byId("animals").replaceChildren(rows.length ? table(["model", "architecture", "parameters", "layers × width", "vocabulary", "window"], rows) : make("p", { class: "empty", text: "No model here has weights of its own that could be shown." }));
    if (found.similarity) drawAlike(found.similarity);
    else if (rows.length > 1) byId("alike").replaceChildren(make("p", { class: "quiet", text: "Too much to read: they are not compared here. consort zoo similarity does it." }));
  } catch (error) {
    state.zoo = false;
    byId("animals").replaceChildren();
    notice(error.message);
  }
}

function drawAlike(told) {
  const square = (value) => {
    const shown = value === null || value === undefined ? "–" : value.toFixed(2);
    const cell = make("td", { class: "square", text: shown, title: value === null ? "another architecture" : `cosine ${value}` });
    cell.style.setProperty("--strength", value === null ? "0" : Math.max(0, Math.min(0.75, value)).toFixed(3));
    return cell;
  };
  const drawn = (title, values) => [make("h2", { text: title }), table(["", ...told.models], values.map((row, i) => [make("th", { scope: "row", text: told.models[i] }), ...row.map(square)]))];
  // of two models the differences from their mean are opposite, whatever they are
  const differences = told.models.length > 2 ? drawn("Cosine of differences from the family's mean", told.deltas) : [];
  byId("alike").replaceChildren(...drawn("Cosine of weights", told.weights), ...differences);
}

// ---- tabs, composer ----
const TABS = ["chat", "tokens", "plan", "zoo"];

function show(name, focus) {
  state.tab = name;
  for (const other of TABS) {
    const tab = byId(`tab-${other}`);
    tab.setAttribute("aria-selected", String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
    byId(other).hidden = other !== name;
  }
  byId("composer").hidden = name === "plan" || name === "zoo";
  notice("");
  if (name === "zoo") drawZoo();
  if (focus) byId(`tab-${name}`).focus();
}

TABS.forEach((name, i) => {
  const tab = byId(`tab-${name}`);
  tab.addEventListener("click", () => show(name, false));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: TABS.length - 1 }[event.key];
    if (step) show(TABS[(i + step) % TABS.length], true);
  });
});

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("prompt").value;
  if (!text.trim()) return;
  if (state.busy) { notice("An answer is still under way: wait for it, or press Stop."); return; }
  byId("prompt").value = "";
  send(text).finally(() => byId("prompt").focus());
});
byId("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); byId("composer").requestSubmit(); }
});
byId("stop").addEventListener("click", () => state.busy?.abort());
byId("clear").addEventListener("click", () => {
  for (const id of state.histories.keys()) state.histories.set(id, []);
  byId("columns").replaceChildren();
  byId("stream").replaceChildren();
  byId("legend").replaceChildren();
  byId("detail").replaceChildren();
  pick();
});
load().catch((error) => notice(`The models cannot be listed: ${error.message}`));
