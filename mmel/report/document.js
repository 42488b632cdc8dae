"use strict";
(() => {
  const SHOWN = 3; // partners of a mention that are listed at once
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
  const mentionAt = (target) => parse(target.closest?.("#cards a.m")?.getAttribute("href"));
  const partnersOf = ({ doc, side, place }) =>
    data.documents[doc].couplings
      .filter((one) => one[side === "t" ? 0 : 1] === place)
      .map(([text, visual, mass, path]) => ({
        mass, path: side === "t" ? path : [...path].reverse(),
        mention: parse(side === "t" ? `#d${doc}-v${visual}` : `#d${doc}-t${text}`),
      }));
  const titleOf = (entity) => (entity < 0 ? "NIL" : data.entities[entity][1]);
  const shown = (value, digits = 3) => (typeof value === "number" ? value.toFixed(digits) : value);
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

  function head({ record, id }) {
    const [name, entity, score, gold, alone] = record;
    const [key, title, description, portrait] = entity < 0 ? ["", "NIL", "not in the knowledge base", ""] : data.entities[entity];
    const said = make("div", "said", make("strong", "title", title));
    if (key && key !== title) said.append(make("span", "id", key));
    if (description) said.append(make("span", "description", description));
    const picture = portrait ? make("div", `picture ${portrait}`) : null;
    const verdict = make("p", "verdict state " + nodeOf(parse("#" + id)).className.replace(/\b(m|box|also|active|partner)\b/g, ""));
    verdict.append(`confidence ${shown(score)}`);
    if (gold === null) verdict.append(" · no label");
    else if (gold === entity) verdict.append(" · right");
    else verdict.append(" · wrong, gold is ", make("b", "", titleOf(gold)), gold < 0 ? "" : ` (${data.entities[gold][0]})`);
    const parts = [make("div", "head", ...(picture ? [picture] : []), said), verdict];
    if (alone) {
      const side = id.includes("-t") ? "The text" : "The picture";
      const same = alone[0] === entity;
      parts.push(make("p", same ? "alone" : "alone differs", `${side} alone: `,
        same ? "the same" : make("b", "", titleOf(alone[0])), `, ${shown(alone[1])}`));
    }
    return parts;
  }

  function columns(values, largest) {
    const cells = [];
    for (let i = 0; i < values.length; i += 2) {
      const [column, value] = [values[i], values[i + 1]];
      const share = typeof value === "number" && largest.get(column) ? Math.abs(value) / largest.get(column) : 0;
      cells.push(make("span", "column", make("span", "name", data.columns[column].replaceAll("_", " ")), bar_(share, value < 0 ? "minus" : ""),
        make("span", "number", signed(value))));
    }
    return cells;
  }

  function candidates({ record }) {
    const [, entity, , gold, , rows] = record;
    if (!rows.length) return make("p", "none", "No candidates.");
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
        bar_(score), make("span", "number", shown(score)),
      ];
      const facts = columns(values, largest);
      if (prior) facts.unshift(make("span", "column", make("span", "name", "p(e|m)"), bar_(prior), make("span", "number", shown(prior))));
      const what = id < 0 ? "" : data.entities[id].slice(0, 1).concat(id === entity ? [] : data.entities[id][2]).filter(Boolean).join(" · ");
      const node = make("details", id === entity ? "candidate chosen" : "candidate", make("summary", "", ...line),
        make("span", "description", what), make("div", "columns", ...facts));
      node.open = facts.length > 0 && (id === entity || id === gold);
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
    return make("li", "", link, bar_(mass / total, "mass"), make("span", "number", `${(100 * mass / total).toFixed(1)} %`), route);
  }

  function partners(mention) {
    const found = partnersOf(mention);
    if (!found.length) return [];
    const total = found.reduce((sum, { mass }) => sum + mass, 0) || 1;
    const items = found.map((one) => partner(one, mention.record[1], total));
    const rest = items.splice(SHOWN);
    const said = `Decided with these ${mention.side === "t" ? "pictures" : "names"}, mass ${total.toPrecision(2)}`;
    const parts = [make("h3", "", said), make("ul", "partners", ...items)];
    if (rest.length) parts.push(make("details", "more", make("summary", "", `${rest.length} more`), make("ul", "partners", ...rest)));
    return parts;
  }

  function show(mention, stay) {
    clearTimeout(timer);
    if (active?.id !== mention.id) {
      leave();
      active = mention;
      card.replaceChildren(...head(mention), ...partners(mention), make("h3", "", "Candidates"), candidates(mention));
      card.setAttribute("aria-label", `${mention.record[0]}: ${titleOf(mention.record[1])}`);
      card.hidden = false;
      card.scrollTop = 0;
      mark();
      place();
    }
    pinned = pinned || stay;
    card.classList.toggle("pinned", pinned);
    draw();
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

  // Beside the mention where there is room, over nothing that it is coupled with; a sheet at the foot of a phone.
  function place() {
    card.style.left = card.style.top = "";
    if (narrow()) return;
    const at = nodeOf(active).getClientRects()[0];
    const [width, height, gap] = [card.offsetWidth, card.offsetHeight, 10];
    const [right, foot] = [document.documentElement.clientWidth - 8, window.innerHeight - 8];
    let left = active.side === "v" ? at.left - width - 3 * gap : at.left;
    if (left < 8) left = active.side === "v" ? Math.min(at.right + gap, right - width) : 8;
    const panel = active.side === "t" && nodeOf(active).closest(".body").querySelector(".pictures")?.getBoundingClientRect();
    if (panel) left = Math.min(left, panel.left - width - gap);
    let top = active.side === "v" ? at.top : at.bottom + gap;
    if (active.side === "t" && top + height > foot) top = at.top - gap - height >= 8 ? at.top - gap - height : top;
    if (top + height > foot) {
      top = Math.max(8, foot - height);
      if (active.side === "t") left = at.right + gap + width <= right ? at.right + gap : Math.max(8, at.left - gap - width);
    }
    card.style.left = `${Math.max(8, Math.min(left, right - width)) + window.scrollX}px`;
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

  function line(from, to, origin, frame) {
    const [x0, y0] = [from.right - origin.left, (from.top + from.bottom) / 2 - origin.top];
    // The further right a box, the lower a line ends, so that those to neighbours do not cover each other; and a little
    // towards the mention, so that those to one box do not all end in one point.
    const [high, column] = [to.bottom - to.top, (to.left - frame.left) / (frame.right - frame.left)];
    const side = Math.max(-1, Math.min(1, (from.top - to.top) / high));
    const [x1, y1] = [to.left - origin.left, to.top - origin.top + high * (0.2 + 0.6 * column + 0.12 * side)];
    if (narrow()) {
      const [a, b, c, d] = [(from.left + from.right) / 2 - origin.left, from.top - origin.top,
        (to.left + to.right) / 2 - origin.left, to.bottom - origin.top];
      return `M${a} ${b}C${a} ${(b + d) / 2} ${c} ${(b + d) / 2} ${c} ${d}`;
    }
    const bend = Math.max(30, (x1 - x0) / 2);
    return `M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`;
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
    const show = list.dataset.show;
    const fits = (target) => !show || active || target.classList.contains(show);
    const paths = [];
    for (const [text, visual, mass, route] of drawn) {
      const ends = [document.getElementById(`d${doc}-t${text}`), document.getElementById(`d${doc}-v${visual}`)];
      if (!fits(ends[0]) && !fits(ends[1])) continue;
      const [from, to] = [seen(ends[0], page), seen(ends[1], frame)];
      if (!from || !to) continue;
      const path = document.createElementNS(canvas.namespaceURI, "path");
      path.setAttribute("d", line(from, to, origin, frame));
      path.setAttribute("stroke-width", (1 + (5 * mass) / most).toFixed(2));
      path.setAttribute("opacity", (0.15 + ((active ? 0.75 : 0.35) * mass) / most).toFixed(2));
      if (!route.length) path.setAttribute("class", "apart");
      paths.push(path);
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
  for (const node of list.children) {
    watch.observe(node);
    node.querySelector(".links").hidden = true;
  }
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
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !active) return;
    const node = nodeOf(active);
    const back = card.contains(document.activeElement);
    hide();
    if (back) {
      node.focus({ preventScroll: true });
      hide();
    }
  });
  document.addEventListener("scroll", draw, { capture: true, passive: true });
  window.addEventListener("resize", measure);
  bar.addEventListener("click", draw);
  bar.addEventListener("input", draw);
  function follow() {
    const mention = parse(location.hash);
    if (mention) go(mention);
  }
  window.addEventListener("hashchange", follow);
  measure();
  follow();
})();
