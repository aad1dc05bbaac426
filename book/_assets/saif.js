// What a reader can switch: all code off and on, remembered; and a figure as large as the screen.

const HIDDEN = "saif-code-hidden";

function remember(hidden) {
  try {
    localStorage.setItem(HIDDEN, hidden ? "yes" : "");
  } catch {
    // A reader who allows no storage switches anew on each page.
  }
}

function remembered() {
  try {
    return localStorage.getItem(HIDDEN) === "yes";
  } catch {
    return false;
  }
}

function addCodeSwitch() {
  if (!document.querySelector(".bd-article .cell_input")) return;
  const bar = document.querySelector(".article-header-buttons");
  if (!bar) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-sm code-switch";
  const show = () => {
    const hidden = document.documentElement.dataset.code === "hidden";
    button.textContent = hidden ? "Show code" : "Hide code";
    button.setAttribute("aria-pressed", String(hidden));
  };
  button.addEventListener("click", () => {
    const hidden = document.documentElement.dataset.code !== "hidden";
    document.documentElement.dataset.code = hidden ? "hidden" : "";
    remember(hidden);
    show();
  });
  show();
  bar.prepend(button);
}

// A tap opens a figure at its own size, in a box that scrolls: on a narrow screen the letters of a
// shrunk figure are too small.
function addLargeFigures() {
  const box = document.createElement("dialog");
  box.className = "large-figure";
  box.setAttribute("aria-label", "The figure, large");
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => box.close());
  const place = document.createElement("div");
  place.tabIndex = 0;
  box.append(close, place);
  document.body.append(box);
  for (const image of document.querySelectorAll(".bd-article figure img")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.setAttribute("aria-label", `Enlarge the figure: ${image.alt}`);
    image.replaceWith(button);
    button.append(image);
    button.addEventListener("click", () => {
      const copy = image.cloneNode();
      copy.removeAttribute("width");
      copy.style.width = `${Math.max(image.naturalWidth, window.innerWidth * 0.9)}px`;
      place.replaceChildren(copy);
      box.showModal();
    });
  }
}

// A latent of the small model can be tried where that model runs in the page, at four times its
// largest activation, since one latent alone has to do the work of many.
function addSteeringLinks() {
  for (const card of document.querySelectorAll(".latent-card")) {
    const { layer, latent, top } = card.dataset;
    const link = document.createElement("a");
    link.href = `13_playground.html?layer=${layer}&latent=${latent}&strength=${Math.round(4 * top)}#live`;
    link.textContent = "Steer with this latent";
    card.append(link);
  }
}

if (remembered()) document.documentElement.dataset.code = "hidden";
document.addEventListener("DOMContentLoaded", () => {
  addCodeSwitch();
  addLargeFigures();
  addSteeringLinks();
});
