"use strict";
(() => {
  const list = document.getElementById("cards");
  const bar = document.querySelector(".toolbar");
  const search = document.getElementById("search");
  const order = document.getElementById("order");
  const shown = document.getElementById("shown");
  const none = document.getElementById("none");
  const cards = Array.from(list.children, (node) => ({ node, text: node.textContent.toLowerCase() }));
  let state = "";

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    list.dataset.show = state;
    for (const { node, text } of cards) {
      const fits = (!state || node.dataset.state.split(" ").includes(state)) && words.every((word) => text.includes(word));
      node.hidden = !fits;
      count += fits;
    }
    none.hidden = count > 0;
    shown.textContent = count + " of " + cards.length;
    list.dispatchEvent(new Event("arranged"));
  }

  function sort() {
    const falls = order.value.startsWith("-");
    const key = order.value.slice(falls ? 1 : 0);
    // A card without the number stays behind all others, whichever way they go.
    const number = ({ node }) => (key in node.dataset ? Number(node.dataset[key]) * (falls ? -1 : 1) : Infinity);
    const place = ({ node }) => Number(node.dataset.order);
    const compare = (a, b) => (number(a) === number(b) ? place(a) - place(b) : number(a) < number(b) ? -1 : 1);
    list.append(...[...cards].sort(compare).map(({ node }) => node));
    list.dispatchEvent(new Event("arranged"));
  }

  for (const button of bar.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      state = button.dataset.show;
      for (const other of bar.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      filter();
    });
  }
  bar.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("input", filter);
  order.addEventListener("change", sort);
  bar.hidden = false;
  sort();
  filter();
})();
