// What a page says about itself when tools/check_in_browser.py asks. A check returns its problems,
// one line each.

// Every page is opened as by a reader who has never been here.
if (location.protocol !== "about:") localStorage.clear();

const textNodes = () => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    if (data.trim() && parentElement.checkVisibility()) found.push(walker.currentNode);
  }
  return found;
};

const short = (text) => text.trim().replace(/\s+/g, " ").slice(0, 60);

const named = (element) =>
  element.localName + (element.id && `#${element.id}`) +
  [...element.classList].map((name) => `.${name}`).join("");

// The colour on which an element is drawn, as [red, green, blue, alpha].
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor.match(/[\d.]+/g).map(Number);
    if (colour[3] !== 0) return colour;
  }
  return [255, 255, 255];
};

window.look = {
  // Waits for the mathematics and what was searched for, opens what is folded: hidden text must be
  // as good as the rest.
  async settle() {
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    // What fades in would be measured half faded.
    const still = document.createElement("style");
    still.textContent = "*, ::before, ::after { animation: none !important; transition: none !important; }";
    document.head.append(still);
    for (let waited = 0; location.search && waited < 100; waited++) {
      if (document.querySelector("#search-results li")) break;
      await new Promise((done) => setTimeout(done, 100));
    }
    for (const folded of document.querySelectorAll("details")) folded.open = true;
    for (const button of document.querySelectorAll("button.toggle-button-hidden")) button.click();
  },

  // What a reader meets on a laptop before anything is unfolded: the answer on the first screen, a
  // figure within three, no code or table that is cut, no letters too small.
  async reading() {
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    const problems = [];
    const bottom = (box) => Math.round(box.getBoundingClientRect().bottom + scrollY);
    const answer = document.querySelector(".bd-article .answer");
    if (answer && bottom(answer) > 800)
      problems.push(`the answer ends at ${bottom(answer)} px, below the first screen of 800`);
    const figure = document.querySelector(".bd-article figure");
    const top = figure && Math.round(figure.getBoundingClientRect().top + scrollY);
    if (answer && figure && top > 2700) problems.push(`the first figure begins at ${top} px`);
    const boxes = ".cell_input pre, .cell_output .text_html, .wide-table, .pst-scrollable-table-container";
    for (const box of document.querySelectorAll(boxes))
      if (box.checkVisibility() && box.scrollWidth > box.clientWidth + 1)
        problems.push(`${box.scrollWidth} px are cut to ${box.clientWidth} in ${named(box)} "${short(box.textContent)}"`);
    // Letters of a figure have 11 points, see saif.mplstyle.
    for (const picture of document.querySelectorAll("figure img")) {
      const letters = (14.6 * picture.getBoundingClientRect().width) / picture.naturalWidth;
      if (picture.checkVisibility() && letters < 9)
        problems.push(`letters of ${letters.toFixed(1)} px in the figure "${short(picture.alt)}"`);
    }
    return problems;
  },

  theme: () => document.documentElement.dataset.theme,

  outside: () =>
    [...document.querySelectorAll("link[rel]")]
      .filter((link) => /dns-prefetch|preconnect|prefetch|prerender|preload/.test(link.rel))
      .filter((link) => new URL(link.href).origin !== location.origin)
      .map((link) => `prepares a connection to ${link.href}`),

  mathematics() {
    const formulas = [...document.querySelectorAll(".math")]
      .filter((math) => !math.querySelector("mjx-container"))
      .map((math) => `formula not typeset: ${short(math.textContent)}`);
    const errors = [...document.querySelectorAll("mjx-merror, [data-mjx-error]")]
      .map((error) => `formula with an error: ${error.dataset.mjxError ?? short(error.textContent)}`);
    const raw = textNodes()
      .filter((node) => !node.parentElement.closest("pre, code, mjx-container"))
      .filter((node) => /\\[([]|\$\$|\$[^$]*\\[a-zA-Z][^$]*\$/.test(node.data))
      .map((node) => `formula left as it was written: ${short(node.data)}`);
    return [...formulas, ...errors, ...raw];
  },

  pictures() {
    const problems = [];
    for (const picture of document.images) {
      const name = picture.getAttribute("src").slice(0, 80);
      if (!picture.complete || !picture.naturalWidth) problems.push(`picture ${name} is not shown`);
      // Figures are drawn in dark colours for a white page, which they need in the dark too.
      else if (picture.matches("figure img, .cell_output img") && picture.checkVisibility()) {
        const card = ground(picture);
        if (Math.min(...card.slice(0, 3)) < 230)
          problems.push(`figure ${name} is drawn on ${card}, not on a light card`);
        if (getComputedStyle(picture).filter !== "none")
          problems.push(`figure ${name} is filtered, so its colours are others`);
      }
    }
    return problems;
  },

  // Text in a box that neither scrolls nor lets it stand out. (A formula scrolls by itself; the
  // text beside it, for screen readers, is hidden by cutting it off.)
  cutOff: () =>
    [...document.body.querySelectorAll("*:not(.math, mjx-assistive-mml)")]
      .filter((box) => box.clientWidth > 1 && box.scrollWidth > box.clientWidth + 1)
      .filter((box) => {
        const { display, overflowX } = getComputedStyle(box);
        return display !== "inline" && /hidden|clip/.test(overflowX) && box.checkVisibility();
      })
      .map((box) => `text is cut off in ${named(box)} "${short(box.textContent)}"`),

  overflow() {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const scrolls = (at) => at && (getComputedStyle(at).overflowX !== "visible" || scrolls(at.parentElement));
    const wide = [...document.body.querySelectorAll("*")]
      .filter((element) => element.getBoundingClientRect().right > clientWidth + 1)
      .filter((element) => !scrolls(element.parentElement));
    return [
      `scrolls sideways: ${scrollWidth} px of ${clientWidth} because of ` +
        (wide.slice(-2).map((element) => `${named(element)} "${short(element.textContent)}"`).join(", ") || "?"),
    ];
  },

  // Marks one element of each kind of text (colours, size, weight, what lies behind it), since
  // measuring the contrast of every word takes a minute and says the same.
  markKinds() {
    const behind = new Map([[null, ""]]);
    const layers = (element) => {
      if (!behind.has(element)) {
        const { backgroundColor, backgroundImage, opacity, filter } = getComputedStyle(element);
        const own = `${backgroundColor} ${backgroundImage} ${opacity} ${filter}`;
        const seen = own === "rgba(0, 0, 0, 0) none 1 none" ? "" : `/${own}`;
        behind.set(element, layers(element.parentElement) + seen);
      }
      return behind.get(element);
    };
    for (const old of document.querySelectorAll("[data-kind-of-text]"))
      old.removeAttribute("data-kind-of-text");
    const kinds = new Set();
    for (const { parentElement } of textNodes()) {
      const { color, fontSize, fontWeight } = getComputedStyle(parentElement);
      const kind = `${color} ${fontSize} ${fontWeight} ${layers(parentElement)}`;
      if (!kinds.has(kind)) parentElement.setAttribute("data-kind-of-text", "");
      kinds.add(kind);
    }
  },

  searchWorks: () =>
    document.querySelector("#search-results") && !document.querySelector("#search-results li")
      ? ["the search finds nothing"]
      : [],

  links: () => [...document.querySelectorAll("a[href]")].map((link) => link.href),

  anchors: () => [...document.querySelectorAll("[id], a[name]")].map((at) => at.id || at.name),
};
