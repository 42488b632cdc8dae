"use strict";
(() => {
  const SHOWN = 3; // partners of a mention that are listed at once
  const GAPS = 4; // columns that are compared with the runner-up's
  const WEAK = 0.1; // partners with less than this share of the strongest's mass are not framed
  const data = JSON.parse(document.getElementById("data").textContent);
  const bar = document.querySelector(".toolbar");
  const list = document.getElementById("cards");
  const visible = new Set();
  let active = null; // the mention whose card is shown
  let pinned = false;
  let timer = 0;

  const make = (name, kind, ...children) => {
    const node = document.createElement(name);
    if (kind) node.className = kind;
    node.append(...children.filter((child) => child !== null));
    return node;
  };
  const card = make("aside", "hover");
  card.id = "card";
  card.hidden = true;
  card.tabIndex = -1;
  card.setAttribute("role", "dialog");
  document.body.append(card);

  // Mentions ----------------------------------------------------------------------------------------------------------

  // "#d3-t5" is the textual mention 5 of document 3.
  function parse(hash) {
    const found = /^#d(\d+)-([tv])(\d+)$/.exec(hash || "");
    if (!found) return null;
    const [doc, side, place] = [Number(found[1]), found[2], Number(found[3])];
    const record = data.documents[doc]?.[side === "t" ? "text" : "visual"][place];
    return record ? { doc, side, place, record, id: found[0].slice(1) } : null;
  }
  const nodeOf = (mention) => document.getElementById(mention.id);
  // Its anchors in the text, its box, and its name below the picture.
  const mentionAt = (target) => parse(target.closest?.("#cards a.m, #cards a.name")?.getAttribute("href"));
  const partnersOf = ({ doc, side, place }) =>
    data.documents[doc].couplings
      .filter((one) => one[side === "t" ? 0 : 1] === place)
      .map(([text, visual, mass, path]) => ({
        mass, path: side === "t" ? path : [...path].reverse(),
        mention: parse(side === "t" ? `#d${doc}-v${visual}` : `#d${doc}-t${text}`),
      }));
  const titleOf = (entity) => (entity < 0 ? "NIL" : data.entities[entity][1]);
  const columnName = (column) => data.columns[column].replaceAll("_", " ");
  const shown = (value) => (typeof value === "number" ? value.toFixed(3) : value);
  // A probability that is not quite 0 or 1 does not look as if it were.
  const likely = (value) => (value > 0 && value < 0.0005 ? "<0.001" : value < 1 && value >= 0.9995 ? ">0.999" : shown(value));
  function signed(value) {
    if (typeof value !== "number") return value;
    const size = Math.abs(value);
    const digits = size >= 100 ? size.toFixed(0) : size >= 0.01 ? size.toFixed(2) : size ? size.toPrecision(1) : "0";
    return (value < 0 ? "−" : "+") + digits;
  }

  // Cards -------------------------------------------------------------------------------------------------------------

  function bar_(share, kind = "") {
    const fill = make("i", kind);
    fill.style.width = `${Math.max(0, Math.min(1, Number(share) || 0)) * 100}%`;
    return make("span", "bar", fill);
  }

  const picture = (portrait) => make("div", `picture ${portrait}`);

  // What is decided, beside what a picture's mention looks like.
  function head({ record, id, side }) {
    const [, entity] = record;
    const [key, title, description, portrait, type] = entity < 0 ? ["", "Not in the knowledge base", "", "", "NIL"] : data.entities[entity];
    const said = make("div", "said", type ? make("span", "type", type) : null, make("strong", "title", title));
    if (description) said.append(make("span", "description", description));
    if (key && key !== title) said.append(make("span", "id", key));
    const seen = side === "v" ? cut(nodeOf(parse("#" + id))) : null;
    return make("div", "head", seen, portrait ? picture(portrait) : null, said);
  }

  const nameOf = ({ record, side, id }) => (side === "t" ? `“${record[0]}”` : document.getElementById(id).getAttribute("aria-label").split(":")[0]);

  function button(label, sign, what) {
    const node = make("button", "", sign);
    node.type = "button";
    node.setAttribute("aria-label", label);
    node.title = label;
    node.addEventListener("click", what);
    return node;
  }

  function verdict({ record }, node) {
    const [, entity, score, gold, , found] = record;
    const states = node.className.replace(/\b(m|box|also|active|partner)\b/g, "");
    const said = make("p", `verdict state ${states}`, make("span", "", "confidence "), make("b", "", likely(score)), bar_(score));
    if (gold === entity) said.append(make("span", "judged", "✓ right"));
    else if (gold !== null) said.append(make("span", "judged", "✗ wrong, gold is ", make("b", "", titleOf(gold)), gold < 0 ? "" : ` (${data.entities[gold][0]})`));
    return found === null ? [said] : [said, make("p", "found", `found with confidence ${likely(found)}`)];
  }

  // The best candidate that was not chosen, and the modality's own decision.
  function others({ record, side }) {
    const [, entity, , , alone, , rows] = record;
    const second = rows.find(([id]) => id !== entity);
    const lines = [];
    const line = (kind, label, id, score) => {
      const portrait = id >= 0 && data.entities[id][3];
      lines.push(make("p", `other ${kind}`, make("span", "label", label), portrait ? picture(portrait) : null,
        make("b", "", titleOf(id)), make("span", "number", likely(score))));
    };
    if (second) line("", entity < 0 ? "Closest, by share of candidates" : "Runner-up, by share of candidates", second[0], second[2]);
    if (alone && alone[0] !== entity) line("differs", `${side === "t" ? "Text" : "Picture"} alone ⇄`, ...alone);
    return lines;
  }

  // What set the chosen candidate apart from the best other one: the columns that differ most.
  function reasons({ record }) {
    const [, entity, , , , , rows] = record;
    const [first, second] = [rows.find(([id]) => id === entity), rows.find(([id]) => id !== entity)];
    if (!first || !second) return [];
    const values = (row) => new Map(Array.from({ length: (row.length - 4) / 2 }, (_, i) => [row[4 + 2 * i], row[5 + 2 * i]]));
    const [mine, its] = [values(first), values(second)];
    const gaps = [...mine].filter(([column, value]) => typeof value === "number" && typeof its.get(column) === "number")
      .map(([column, value]) => [column, value - its.get(column)]).filter(([, gap]) => Math.abs(gap) >= 0.01)
      .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, GAPS);
    if (!gaps.length) return [];
    const most = Math.abs(gaps[0][1]);
    const cells = gaps.map(([column, gap]) => make("span", "column", make("span", "name", columnName(column)),
      bar_(Math.abs(gap) / most, gap < 0 ? "minus" : ""), make("span", "number", signed(gap))));
    return [make("h3", "", `Why not ${titleOf(second[0])}`), make("div", "columns", ...cells)];
  }

  function columns(values, largest) {
    const cells = [];
    for (let i = 0; i < values.length; i += 2) {
      const [column, value] = [values[i], values[i + 1]];
      const share = typeof value === "number" && largest.get(column) ? Math.abs(value) / largest.get(column) : 0;
      cells.push(make("span", "column", make("span", "name", columnName(column)), bar_(share, value < 0 ? "minus" : ""),
        make("span", "number", signed(value))));
    }
    return cells;
  }

  function candidates({ record }) {
    const [, entity, , gold, , , rows] = record;
    const largest = new Map();
    for (const row of rows) {
      for (let i = 4; i < row.length; i += 2) {
        if (typeof row[i + 1] === "number") largest.set(row[i], Math.max(largest.get(row[i]) || 0, Math.abs(row[i + 1])));
      }
    }
    const items = rows.map(([id, rank, score, prior, ...values]) => {
      const portrait = id >= 0 && data.entities[id][3];
      const line = [
        make("span", "rank", `${rank}`), portrait ? make("span", `picture ${portrait}`) : null,
        make("span", "title", titleOf(id), ...(id === gold ? [make("b", "gold-mark", " ✓ gold")] : [])),
        bar_(score), make("span", "number", likely(score)),
      ];
      const facts = columns(values, largest);
      if (prior) facts.unshift(make("span", "column", make("span", "name", "p(e|m)"), bar_(prior), make("span", "number", likely(prior))));
      const what = id < 0 ? "" : data.entities[id].slice(0, 1).concat(id === entity ? [] : data.entities[id][2]).filter(Boolean).join(" · ");
      const node = make("details", id === entity ? "candidate chosen" : "candidate", make("summary", "", ...line),
        make("span", "description", what), make("div", "columns", ...facts));
      return make("li", "", node);
    });
    return make("ol", "candidates", ...items);
  }

  // The part of a document's picture under a box, from the picture that the page has already.
  function cut(node) {
    const picture = node.parentElement.querySelector(".picture");
    const tile = make("span", picture.className);
    const [left, top, width, height] = ["left", "top", "width", "height"].map((side) => parseFloat(node.style[side]) / 100);
    const ratio = node.parentElement.clientWidth / (node.parentElement.clientHeight || 1);
    tile.style.aspectRatio = `${(width * ratio) / height}`;
    tile.style.backgroundSize = `${100 / width}% ${100 / height}%`;
    tile.style.backgroundPosition = `${width < 1 ? (100 * left) / (1 - width) : 0}% ${height < 1 ? (100 * top) / (1 - height) : 0}%`;
    return tile;
  }

  function partner({ mention, mass, path }, own, total) {
    const [name, entity] = mention.record;
    const link = make("a", "", ...(mention.side === "v" ? [cut(nodeOf(mention))] : [make("q", "", name)]),
      make("span", "title", titleOf(entity)));
    link.href = "#" + mention.id;
    const steps = path.length ? path : [own, entity];
    const route = make("span", path.length ? "path" : "path apart");
    steps.forEach((step, place) => route.append(place ? (path.length ? " → " : " ⇢ ") : "", titleOf(step)));
    if (!path.length) route.append(" (no short path)");
    return make("li", "", link, bar_(mass / total, "mass"), make("span", "number", `${Math.round(100 * mass / total)} %`), route);
  }

  function partners(mention) {
    const found = partnersOf(mention);
    if (!found.length) return [];
    const total = found.reduce((sum, { mass }) => sum + mass, 0) || 1;
    const items = found.map((one) => partner(one, mention.record[1], total));
    const rest = items.splice(SHOWN);
    const said = `Decided with ${mention.side === "t" ? "pictures" : "names"} (mass ${total.toPrecision(2)})`;
    const parts = [make("h3", "", said), make("ul", "partners", ...items)];
    if (rest.length) parts.push(make("details", "more", make("summary", "", `${rest.length} more`), make("ul", "partners", ...rest)));
    return parts;
  }

  function show(mention, stay) {
    clearTimeout(timer);
    if (active?.id !== mention.id) {
      leave();
      active = mention;
      const tools = make("div", "tools", make("span", "of", nameOf(mention)), button("Previous mention", "‹", () => step(-1)), button("Next mention", "›", () => step(1)),
        button("Close", "×", close));
      const rows = mention.record[6];
      card.replaceChildren(tools, head(mention), ...verdict(mention, nodeOf(mention)), ...others(mention), ...partners(mention),
        ...reasons(mention), make("h3", "", rows.length ? "Candidates by their share of all" : "No candidates"), candidates(mention));
      card.setAttribute("aria-label", `${mention.record[0]}: ${titleOf(mention.record[1])}`);
      card.hidden = false;
      card.scrollTop = 0;
      mark();
      place();
    }
    // A page without an address of its own has no place for one.
    if (stay && location.hash !== "#" + mention.id && location.protocol !== "about:") history.replaceState(null, "", "#" + mention.id);
    pinned = pinned || stay;
    card.classList.toggle("pinned", pinned);
    if (pinned && narrow()) uncover();
    // The browser may still scroll to the address, and cards that come into sight get their real height.
    if (stay) requestAnimationFrame(() => requestAnimationFrame(() => active && place()));
    draw();
  }

  // The sheet at the foot of a phone must not lie over the mention that it is about.
  function uncover() {
    const node = nodeOf(active);
    const over = node.getClientRects()[0].bottom + 24 - card.getBoundingClientRect().top;
    if (active.side === "t" && over > 0) window.scrollBy({ top: over });
  }

  // The next mention of those that the buttons and the search leave.
  function step(by) {
    const all = [...list.querySelectorAll("a.m[id]")].filter((node) => !node.closest("#cards > li").hidden && fits(node));
    const here = nodeOf(active);
    const place = all.indexOf(here);
    const behind = all.findIndex((node) => here.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING);
    const next = place >= 0 ? all[place + by] : all[behind < 0 ? all.length - 1 : by > 0 ? behind : behind - 1];
    if (next) go(parse("#" + next.id));
  }
  const fits = (node) => !list.dataset.show || node.classList.contains(list.dataset.show);

  function close() {
    const node = active && nodeOf(active);
    hide();
    node?.focus({ preventScroll: true });
    hide();
  }

  function hide() {
    clearTimeout(timer);
    leave();
    pinned = false;
    card.hidden = true;
    draw();
  }

  function leave() {
    for (const node of list.querySelectorAll(".active, .partner")) node.classList.remove("active", "partner");
    active = null;
    pinned = false;
  }

  function mark() {
    for (const node of list.querySelectorAll(`a.m[href="#${active.id}"]`)) node.classList.add("active");
    const all = partnersOf(active);
    const found = all.filter(({ mass }) => mass >= WEAK * all[0].mass).map(({ mention }) => nodeOf(mention));
    for (const node of found) node.classList.add("partner");
    if (active.side === "t" && found.length) bring(found[0]);
  }

  // Move a picture into what is seen of its panel, without moving the page.
  function bring(node) {
    const panel = node.closest(".pictures");
    const [inner, outer] = [node.getBoundingClientRect(), panel.getBoundingClientRect()];
    if (inner.left < outer.left || inner.right > outer.right) panel.scrollLeft += inner.left - outer.left - 8;
    if (inner.top < outer.top || inner.bottom > outer.bottom) panel.scrollTop += inner.top - outer.top - 8;
  }

  const narrow = () => window.innerWidth <= 760;

  // Next to the mention, over neither it nor the pictures that it is coupled with; a sheet at the foot of a phone.
  function place() {
    card.style.left = card.style.top = card.style.maxHeight = "";
    if (narrow()) return;
    const at = nodeOf(active).getClientRects()[0];
    const [width, height, gap, edge] = [card.offsetWidth, card.offsetHeight, 10, 8];
    const [right, foot] = [document.documentElement.clientWidth - edge, window.innerHeight - edge];
    const [below, above] = [foot - at.bottom - gap, at.top - gap - edge];
    const side = [at.left - gap - width, at.right + gap].find((left) => left >= edge && left + width <= right);
    let [left, top] = [side, Math.max(edge, Math.min(at.top, foot - height))];
    if (side === undefined || (active.side === "t" && Math.max(below, above) >= height)) {
      const under = below >= height || below >= above;
      // Where it fits nowhere it is made lower, and scrolls.
      const high = Math.min(height, Math.max(below, above));
      card.style.maxHeight = high < height ? `${high}px` : "";
      const panel = active.side === "t" && nodeOf(active).closest(".body").querySelector(".pictures")?.getBoundingClientRect();
      left = Math.max(edge, Math.min(at.left, (panel ? panel.left - gap : right) - width));
      top = under ? at.bottom + gap : at.top - gap - high;
    }
    card.style.left = `${left + window.scrollX}px`;
    card.style.top = `${top + window.scrollY}px`;
  }

  function go(mention) {
    const node = nodeOf(mention);
    if (node.closest("#cards > li").hidden) return;
    node.scrollIntoView({ block: narrow() ? "start" : "nearest" });
    node.focus({ preventScroll: true });
    show(mention, true);
  }

  // Lines -------------------------------------------------------------------------------------------------------------

  function couplingsOf(doc) {
    const all = data.documents[doc].couplings;
    if (active) return active.doc === doc ? all.filter((one) => one[active.side === "t" ? 0 : 1] === active.place) : [];
    if (narrow()) return [];
    const [text, visual] = [new Set(), new Set()];
    // They come by falling mass: the first of a mention is its strongest.
    return all.filter((one) => {
      const strongest = !text.has(one[0]) || !visual.has(one[1]);
      text.add(one[0]);
      visual.add(one[1]);
      return strongest;
    });
  }

  function seen(node, frame) {
    const rect = node.getClientRects()[0];
    if (!rect) return null;
    const [x, y] = [(rect.left + rect.right) / 2, (rect.top + rect.bottom) / 2];
    return x >= frame.left - 1 && x <= frame.right + 1 && y >= frame.top && y <= frame.bottom ? rect : null;
  }

  // A line runs below the words of its mention to the edge of the text, and from there to the box, so that it strikes
  // nothing out; on a phone straight up. Two parts: the first is thin.
  function route(from, to, origin, frame, edge) {
    if (narrow()) {
      const [a, b, c, d] = [(from.left + from.right) / 2 - origin.left, from.top - origin.top,
        (to.left + to.right) / 2 - origin.left, to.bottom - origin.top];
      return ["", `M${a} ${b}C${a} ${(b + d) / 2} ${c} ${(b + d) / 2} ${c} ${d}`];
    }
    // The further right a box, the lower a line ends, so that those to neighbours do not cover each other; and a little
    // towards the mention, so that those to one box do not all end in one point.
    const [high, column] = [to.bottom - to.top, (to.left - frame.left) / (frame.right - frame.left)];
    const side = Math.max(-1, Math.min(1, (from.top - to.top) / high));
    const [x0, y0] = [from.left - origin.left, from.bottom - origin.top + 2];
    const [x1, y1] = [to.left - origin.left, to.top - origin.top + high * (0.2 + 0.6 * column + 0.12 * side)];
    const bend = Math.max(30, (x1 - edge) / 2);
    return [`M${x0} ${y0}H${edge}`, `M${edge} ${y0}C${edge + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`];
  }

  function curve(canvas, way, width, opacity, joined) {
    const path = document.createElementNS(canvas.namespaceURI, "path");
    path.setAttribute("d", way);
    path.setAttribute("stroke-width", width.toFixed(2));
    path.setAttribute("opacity", opacity.toFixed(2));
    if (!joined) path.setAttribute("class", "apart");
    return path;
  }

  function drawOne(node) {
    const doc = Number(node.id.slice(1));
    const body = node.querySelector(".body");
    const panel = body.querySelector(".pictures");
    if (!panel || !data.documents[doc]?.couplings.length) return;
    const canvas = body.querySelector("svg.lines");
    const origin = body.getBoundingClientRect();
    const sticky = getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
    const box = panel.getBoundingClientRect();
    const top = Math.max(sticky, narrow() ? box.bottom : 0);
    const page = { left: 0, right: window.innerWidth, top, bottom: window.innerHeight };
    const frame = { left: box.left, right: box.right, top: Math.max(box.top, sticky), bottom: Math.min(box.bottom, window.innerHeight) };
    const drawn = couplingsOf(doc);
    // Against the strongest of the mention that is pointed at, else of the document; both come first.
    const most = drawn[0]?.[2] || 1;
    const edge = body.querySelector(".text").getBoundingClientRect().right - origin.left + 8;
    const paths = [];
    for (const [text, visual, mass, path] of drawn) {
      const ends = [document.getElementById(`d${doc}-t${text}`), document.getElementById(`d${doc}-v${visual}`)];
      if (!active && !ends.some(fits)) continue;
      const [from, to] = [seen(ends[0], page), seen(ends[1], frame)];
      if (!from || !to) continue;
      const opacity = (active ? 0.25 : 0.15) + ((active ? 0.75 : 0.4) * mass) / most;
      // On a phone they cross the text.
      const widths = narrow() ? [0, 1 + mass / most] : [1, 1 + (4 * mass) / most];
      paths.push(...route(from, to, origin, frame, edge).map((way, part) => curve(canvas, way, widths[part], opacity, path.length)));
    }
    canvas.replaceChildren(...paths);
  }

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const node of visible) drawOne(node);
    });
  }

  // Events ------------------------------------------------------------------------------------------------------------

  function measure() {
    const high = getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
    document.documentElement.style.setProperty("--bar", `${high}px`);
    if (active) place();
    draw();
  }

  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) visible[isIntersecting ? "add" : "delete"](target);
    draw();
  });
  for (const node of list.children) watch.observe(node);
  const later = (what, delay) => {
    clearTimeout(timer);
    timer = setTimeout(what, delay);
  };
  // A finger does not hover: what it touches is a click.
  const hovers = ({ pointerType }) => pointerType !== "touch" && !pinned;
  list.addEventListener("pointerover", (event) => {
    const mention = hovers(event) && mentionAt(event.target);
    if (mention) later(() => show(mention, false), active ? 60 : 120);
  });
  list.addEventListener("pointerout", (event) => {
    if (hovers(event) && mentionAt(event.target)) later(hide, 250);
  });
  card.addEventListener("pointerenter", () => clearTimeout(timer));
  card.addEventListener("pointerleave", (event) => {
    if (hovers(event)) later(hide, 250);
  });
  list.addEventListener("focusin", ({ target }) => {
    const mention = target.matches(":focus-visible") && mentionAt(target);
    if (mention) show(mention, false);
  });
  list.addEventListener("focusout", ({ relatedTarget }) => {
    if (!pinned && !card.contains(relatedTarget)) later(hide, 250);
  });
  list.addEventListener("click", (event) => {
    const mention = mentionAt(event.target);
    if (!mention) return;
    event.preventDefault();
    if (pinned && active?.id === mention.id) return hide();
    show(mention, true);
    // A key press, so that the reading goes on in the card.
    if (event.detail === 0) card.focus({ preventScroll: true });
  });
  card.addEventListener("click", (event) => {
    const mention = parse(event.target.closest("a")?.getAttribute("href"));
    if (!mention) return;
    event.preventDefault();
    go(mention);
  });
  document.addEventListener("click", ({ target }) => {
    if (active && target.isConnected && !card.contains(target) && !mentionAt(target)) hide();
  });
  document.addEventListener("keydown", (event) => {
    if (!active) return;
    const inside = card.contains(document.activeElement);
    if (event.key === "Escape") return inside ? close() : hide();
    // Only where the reader is: arrows belong to the page, to the search box and to the choices, too.
    const here = inside || document.activeElement === nodeOf(active);
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || !here || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    step(by);
  });
  document.addEventListener("scroll", draw, { capture: true, passive: true });
  window.addEventListener("resize", measure);
  // Cards get their real height when they come into sight, and move what is below.
  new ResizeObserver(measure).observe(list);
  bar.addEventListener("click", draw);
  bar.addEventListener("input", draw);
  // Tables of links ---------------------------------------------------------------------------------------------------

  for (const toggle of list.querySelectorAll("button.open")) {
    const table = document.getElementById(toggle.getAttribute("aria-controls"));
    const open = (on) => {
      table.hidden = !on;
      toggle.setAttribute("aria-expanded", String(on));
      draw();
    };
    toggle.hidden = false;
    toggle.addEventListener("click", () => open(table.hidden));
    open(false);
  }

  // Low confidence ----------------------------------------------------------------------------------------------------

  const low = document.getElementById("low");
  const rows = document.querySelector(".index tbody");
  const rowOf = new Map(Array.from(rows?.rows || [], (row) => [row.dataset.card, row]));

  function lowAgain() {
    const step = Number(low.value);
    let all = 0;
    for (const node of list.children) {
      let count = 0;
      for (const anchor of node.querySelectorAll("a.m, a.name")) {
        const mention = parse(anchor.getAttribute("href"));
        const is = mention.record[2] < step;
        anchor.classList.toggle("low", is);
        if (is && anchor.id) count += 1;
      }
      const states = node.dataset.state.split(" ").filter((state) => state && state !== "low");
      node.dataset.state = [...states, ...(count ? ["low"] : [])].join(" ");
      const said = node.querySelector(".low-count");
      said.textContent = ` · ${count} low`;
      said.hidden = !count;
      const cell = rowOf.get(node.id)?.querySelector(".low-count");
      if (cell) cell.textContent = count;
      all += count;
    }
    const choice = bar.querySelector('button[data-show="low"]');
    choice.disabled = !all && choice.getAttribute("aria-pressed") !== "true";
    choice.querySelector(".count").textContent = all.toLocaleString("en");
    for (const said of document.querySelectorAll(".low-step")) said.textContent = low.value;
    // The cards that fit are others now.
    document.getElementById("search").dispatchEvent(new Event("input"));
    draw();
  }
  low.addEventListener("change", lowAgain);

  // Index -------------------------------------------------------------------------------------------------------------

  function arrange() {
    if (!rows) return;
    const cards = [...list.children];
    rows.append(...cards.map((node) => rowOf.get(node.id)));
    for (const node of cards) rowOf.get(node.id).hidden = node.hidden;
  }
  list.addEventListener("arranged", arrange);
  arrange();

  function follow() {
    const mention = parse(location.hash);
    if (mention) go(mention);
  }
  window.addEventListener("hashchange", follow);
  measure();
  follow();
})();
