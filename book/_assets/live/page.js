// The controls that steer the small model in the page. The model is loaded when the reader asks for
// it; until then, and without JavaScript, the page shows answers that were computed when it was made.

"use strict";

(() => {
  const MOST = 40; // tokens of an answer
  const [SEEN, FULL] = [0.5, 5]; // nats: from where a change is written, and where its colour is deepest
  const PLACEMENTS = ["decaying", "every_position", "last_prompt_token", "generated_tokens"];
  const home = document.currentScript.src.replace(/[^/]*$/, "");

  function load(name) {
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = home + name;
      script.onload = done;
      script.onerror = () => failed(new Error(`${name} could not be loaded`));
      document.head.append(script);
    });
  }

  function element(kind, properties = {}, ...children) {
    const made = Object.assign(document.createElement(kind), properties);
    made.append(...children);
    return made;
  }

  const words = (name) => name.replaceAll("_", " ");

  // A control with its label.
  function labelled(form, name, control) {
    control.name = name.toLowerCase();
    control.id = `live-${control.name}`;
    form.append(element("div", {}, element("label", { htmlFor: control.id }, name), control));
    return control;
  }

  function choice(options) {
    return element("select", {}, ...options.map(([value, text]) => element("option", { value }, text)));
  }

  function number(value, min, max, step) {
    return element("input", { type: "number", value, min, max, step });
  }

  // The latent that the page was opened with, as latent cards link it: ?layer=0&latent=709.
  function asked() {
    const wanted = new URLSearchParams(location.search);
    const [layer, latent, strength] = ["layer", "latent", "strength"].map((name) => wanted.get(name));
    return latent === null ? null : { layer: Number(layer), latent: Number(latent), strength: Number(strength ?? 20) };
  }

  class Demonstration {
    constructor(box) {
      this.box = box;
      this.button = box.querySelector("button");
      this.button.hidden = false;
      this.button.addEventListener("click", () => this.start());
      this.results = box.querySelector(".live-results");
      if (asked()) this.start();
    }

    async start() {
      this.button.disabled = true;
      this.say("Loading the model ...");
      try {
        await load("organism.js");
        await Promise.all(["data/model.js", "data/vectors.js"].map(load));
        this.data = SAIF.data.vectors;
        this.vectors = SAIF.singles(this.data.vectors);
        this.model = new SAIF.Model(SAIF.data.model);
        this.makeControls();
        this.button.parentElement.remove();
        this.box.querySelector(".live-example")?.remove();
        const latent = asked();
        if (latent) this.chooseLatent(latent);
        await this.write();
      } catch (error) {
        this.button.disabled = false;
        this.say(`The model cannot run here: ${error.message}.`);
      }
    }

    makeControls() {
      const { instructions, rules, layers, sentences } = this.data;
      const form = element("form", { className: "live-controls" });
      form.addEventListener("submit", (event) => event.preventDefault());
      const menu = choice([...sentences.map((text) => [text, text]), ["", "My own words"]]);
      this.controls = {
        sentence: labelled(form, "Sentence", menu),
        own: labelled(form, "Words", element("input", { type: "text", value: sentences[0] })),
        instruction: labelled(form, "Instruction", choice(Object.entries(instructions))),
        rule: labelled(form, "Rule", choice([...rules.map((rule) => [rule, rule]), ["one latent", "one latent"]])),
        layer: labelled(form, "Layer", choice(layers.map((layer) => [layer, layer]))),
        latent: labelled(form, "Latent", number(709, 0, 1023, 1)),
        strength: labelled(form, "Strength", number(2, 0, 60, 0.5)),
        placement: labelled(form, "Placement", choice(PLACEMENTS.map((name) => [name, words(name)]))),
        decay: labelled(form, "Decay", number(0.8, 0, 1, 0.1)),
      };
      this.results.before(form);
      const { sentence, own, instruction, rule } = this.controls;
      sentence.addEventListener("change", () => (own.value = sentence.value || own.value));
      own.addEventListener("input", () => (sentence.value = sentences.includes(own.value) ? own.value : ""));
      for (const control of [instruction, rule]) control.addEventListener("change", () => this.usual());
      form.addEventListener("change", () => this.write());
      this.usual();
    }

    // Set layer, placement, strength and decay to what validation chose for the instruction.
    usual() {
      const { instruction, rule, layer, placement, strength, decay } = this.controls;
      if (rule.value === "one latent") return;
      const chosen = this.data.settings[instruction.value];
      const setting = chosen[rule.value] ?? chosen.SAIF;
      layer.value = setting.layer;
      placement.value = setting.placement;
      strength.value = setting.strength;
      if (setting.placement === "decaying") decay.value = setting.decay;
    }

    chooseLatent({ layer, latent, strength }) {
      const { controls } = this;
      Object.assign(controls.rule, { value: "one latent" });
      controls.layer.value = layer;
      controls.latent.value = latent;
      controls.strength.value = strength;
      controls.placement.value = "decaying";
    }

    // The vector that the controls name, at their strength.
    async vector() {
      const { instruction, rule, layer, latent, strength } = this.controls;
      const size = this.model.config.d_model;
      let numbers;
      if (rule.value === "one latent") {
        const name = `latents_${layer.value}`;
        if (!SAIF.data[name]) await load(`data/${name}.js`);
        const all = SAIF.halves(SAIF.data[name].W_dec);
        if (!(latent.value >= 0 && latent.value * size < all.length)) throw new Error("there is no such latent");
        numbers = all.subarray(latent.value * size, (Number(latent.value) + 1) * size);
      } else {
        const { instructions, rules, layers } = this.data;
        const at = Object.keys(instructions).indexOf(instruction.value) * rules.length + rules.indexOf(rule.value);
        const row = at * layers.length + layers.indexOf(Number(layer.value));
        numbers = this.vectors.subarray(row * size, (row + 1) * size);
      }
      return numbers.map((one) => one * Number(strength.value));
    }

    unknown(sentence) {
      const known = new Set(this.data.words);
      const given = sentence.split(/\s+/).map((word) => word.replace(/^["']+|[.,?!"']+$/g, ""));
      return given.filter((word) => word && !known.has(word.toLowerCase()));
    }

    async write() {
      const { own, rule, layer, placement, decay, latent, instruction } = this.controls;
      const one = rule.value === "one latent";
      decay.disabled = placement.value !== "decaying";
      latent.parentElement.hidden = !one;
      instruction.parentElement.hidden = one;
      const sentence = own.value.trim();
      if (!sentence) return this.say("Write a sentence.");
      if (this.model.tokenizer.special.some((token) => sentence.includes(token)))
        return this.say("The sentence holds one of the model's special tokens; leave it out.");
      this.say("Writing ...");
      await new Promise((done) => setTimeout(done, 20)); // let the page show that
      try {
        const steering = {
          layer: Number(layer.value),
          vector: await this.vector(),
          placement: placement.value,
          decay: Number(decay.value),
        };
        const prompt = this.model.prompt(sentence);
        const plain = this.model.run(prompt, null, MOST);
        const steered = this.model.run(prompt, steering, MOST);
        const without = this.model.run(prompt, null, steered.ids.length, steered.ids);
        this.show(plain, steered, without, this.unknown(sentence));
      } catch (error) {
        this.say(`Cannot be shown: ${error.message}.`);
      }
    }

    show(plain, steered, without, unknown) {
      const { tokenizer } = this.model;
      const answer = element("p", { className: "live-steered" });
      steered.ids.forEach((id, at) => {
        const change = steered.likely[at] - without.likely[at];
        const depth = Math.round(55 * Math.min(Math.abs(change) / FULL, 1));
        const colour = change > 0 ? "230, 159, 0" : "86, 180, 233";
        const token = tokenizer.decode([id]);
        const word = token.trimStart();
        answer.append(token.slice(0, token.length - word.length));
        const shown = element("span", { textContent: word });
        shown.style.background = `rgba(${colour}, ${depth / 100})`;
        const signed = `${change > 0 ? "+" : ""}${change.toFixed(1)}`;
        shown.title = `${signed} nats`;
        answer.append(Math.abs(change) < SEEN ? shown : element("ruby", {}, shown, element("rt", {}, signed)));
      });
      const legend =
        "Above a token: by how many nats the vector changed its log-probability. Orange: more likely, blue: less.";
      const warning = unknown.length
        ? `The model has never seen: ${unknown.join(", ")}. It knows the words of one small grammar, so expect nonsense.`
        : "";
      this.results.replaceChildren(
        element("div", {}, element("b", {}, "Unsteered"), element("p", {}, tokenizer.decode(plain.ids) || "(nothing)")),
        element("div", {}, element("b", {}, "Steered"), answer),
        element("p", { className: "live-note" }, legend),
        ...(warning ? [element("p", { className: "live-note" }, warning)] : []),
      );
    }

    say(text) {
      this.results.replaceChildren(element("p", {}, text));
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll(".live")) new Demonstration(box);
  });
})();
