// The book's small model in plain JavaScript: tokenizer, forward pass with a cache, greedy decoding,
// and a steering vector added after one layer. It computes what `saif_helpers.generate` computes;
// tools/check_live.py compares the tokens of both.

"use strict";

const SAIF = (() => {
  // ---- Numbers: weights come as base64 of 16-bit floats, and are computed with in 32 bits.

  function bytes(base64) {
    const text = atob(base64);
    const found = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) found[at] = text.charCodeAt(at);
    return found;
  }

  function float16(bits) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => float16(bits));

  function halves(base64) {
    const raw = new Uint16Array(bytes(base64).buffer);
    return Float32Array.from(raw, (bits) => HALVES[bits]);
  }

  function singles(base64) {
    return new Float32Array(bytes(base64).buffer);
  }

  // ---- Tokenizer: byte-level BPE. Words are split off, written as bytes, and merged pair by pair,
  // the pair that was learned first first.

  const WORDS = /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

  // Each byte is written as a character that can be printed, as GPT-2's tokenizer does it.
  function byteAlphabet() {
    const printed = (b) => (b > 32 && b < 127) || (b > 160 && b < 256 && b !== 173);
    let more = 256;
    return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printed(b) ? b : more++));
  }

  class Tokenizer {
    constructor({ vocabulary, merges, special }) {
      this.tokens = vocabulary;
      this.ids = new Map(vocabulary.map((token, id) => [token, id]));
      this.ranks = new Map(merges.map((pair, rank) => [pair, rank]));
      this.special = special; // written in a prompt as they are
      this.alphabet = byteAlphabet();
      this.bytes = new Map(this.alphabet.map((character, byte) => [character, byte]));
    }

    merged(word) {
      let parts = [...word];
      for (;;) {
        let best = Infinity;
        for (let at = 0; at + 1 < parts.length; at++)
          best = Math.min(best, this.ranks.get(`${parts[at]} ${parts[at + 1]}`) ?? Infinity);
        if (best === Infinity) return parts;
        const next = [];
        for (let at = 0; at < parts.length; at++) {
          const pair = at + 1 < parts.length && this.ranks.get(`${parts[at]} ${parts[at + 1]}`) === best;
          next.push(pair ? parts[at] + parts[++at] : parts[at]);
        }
        parts = next;
      }
    }

    encode(text) {
      const escaped = this.special.map((token) => token.replace(/[^\w]/g, "\\$&"));
      const found = [];
      for (const part of text.split(new RegExp(`(${escaped.join("|")})`))) {
        if (this.special.includes(part)) found.push(this.ids.get(part));
        else
          for (const [word] of part.matchAll(WORDS)) {
            const written = [...new TextEncoder().encode(word)].map((b) => this.alphabet[b]).join("");
            found.push(...this.merged(written).map((token) => this.ids.get(token)));
          }
      }
      return found;
    }

    decode(ids) {
      const raw = ids.flatMap((id) => [...this.tokens[id]].map((character) => this.bytes.get(character)));
      return new TextDecoder().decode(Uint8Array.from(raw));
    }
  }

  // ---- Layers of the network.

  // y = W x, for a weight of `rows` rows.
  function times(weight, x, rows) {
    const y = new Float32Array(rows);
    const columns = x.length;
    for (let row = 0, at = 0; row < rows; row++) {
      let [a, b, c, d] = [0, 0, 0, 0]; // four sums at a time are quicker than one
      for (let column = 0; column < columns; column += 4, at += 4) {
        a += weight[at] * x[column];
        b += weight[at + 1] * x[column + 1];
        c += weight[at + 2] * x[column + 2];
        d += weight[at + 3] * x[column + 3];
      }
      y[row] = a + b + c + d;
    }
    return y;
  }

  // RMSNorm: divide by the root mean square, then scale by one plus a learned weight.
  function normed(x, weight, epsilon) {
    let squares = 0;
    for (const one of x) squares += one * one;
    const scale = 1 / Math.sqrt(squares / x.length + epsilon);
    return x.map((one, at) => one * scale * (1 + weight[at]));
  }

  function add(x, y, scale = 1) {
    for (let at = 0; at < x.length; at++) x[at] += scale * y[at];
  }

  const cap = (x, most) => Math.tanh(x / most) * most;
  const gelu = (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

  class Model {
    constructor({ config, shapes, weights, tokenizer, template }) {
      this.config = config;
      this.tokenizer = new Tokenizer(tokenizer);
      this.template = template;
      const all = halves(weights);
      this.weights = {};
      let at = 0;
      for (const [name, size] of shapes) this.weights[name] = all.subarray(at, (at += size));
    }

    // The prompt's tokens: the sentence in the chat template, as saif_helpers.render writes it.
    prompt(sentence) {
      const [before, after] = this.template;
      return this.tokenizer.encode(before + sentence.trim() + after);
    }

    // Turn queries and keys by an angle that grows with the position (rotary embedding).
    rotate(heads, position) {
      const size = this.config.head_dim;
      const half = size / 2;
      for (let head = 0; head < heads.length; head += size)
        for (let at = 0; at < half; at++) {
          const angle = position * this.config.theta ** (-at / half);
          const [cos, sin] = [Math.fround(Math.cos(angle)), Math.fround(Math.sin(angle))];
          const [a, b] = [heads[head + at], heads[head + at + half]];
          heads[head + at] = a * cos - b * sin;
          heads[head + at + half] = b * cos + a * sin;
        }
    }

    // Attention of one position to itself and all before it, whose keys and values are in the cache.
    attend(layer, x, cache) {
      const { heads, kv_heads, head_dim, attention_cap, query_scale } = this.config;
      const weight = (name) => this.weights[`${layer}.${name}`];
      const position = cache.length;
      const query = times(weight("q"), x, heads * head_dim);
      const key = times(weight("k"), x, kv_heads * head_dim);
      this.rotate(query, position);
      this.rotate(key, position);
      cache.push({ key, value: times(weight("v"), x, kv_heads * head_dim) });
      const mixed = new Float32Array(heads * head_dim);
      for (let head = 0; head < heads; head++) {
        const from = head * head_dim;
        const shared = Math.floor(head / (heads / kv_heads)) * head_dim; // two heads share a key
        const scores = cache.map(({ key: other }) => {
          let score = 0;
          for (let at = 0; at < head_dim; at++) score += query[from + at] * other[shared + at];
          return cap(score * query_scale, attention_cap);
        });
        const highest = Math.max(...scores);
        const exponents = scores.map((score) => Math.exp(score - highest));
        const sum = exponents.reduce((a, b) => a + b);
        cache.forEach(({ value }, place) => {
          const share = exponents[place] / sum;
          for (let at = 0; at < head_dim; at++) mixed[from + at] += share * value[shared + at];
        });
      }
      return times(weight("o"), mixed, this.config.d_model);
    }

    // The gated two-layer network of a position.
    feedForward(layer, x) {
      const weight = (name) => this.weights[`${layer}.${name}`];
      const gate = times(weight("gate"), x, this.config.d_mlp);
      const up = times(weight("up"), x, this.config.d_mlp);
      return times(weight("down"), gate.map((one, at) => gelu(one) * up[at]), this.config.d_model);
    }

    // Read one token; `added` maps a layer to what is added to the residual stream after it.
    // Returns the log-probabilities of the next token, if they are wanted.
    read(token, cache, added, wanted) {
      const { d_model, layers, epsilon, logit_cap, vocabulary } = this.config;
      const embedding = this.weights.embedding;
      const stream = embedding.slice(token * d_model, (token + 1) * d_model);
      const size = Math.fround(Math.sqrt(d_model));
      for (let at = 0; at < d_model; at++) stream[at] *= size;
      for (let layer = 0; layer < layers; layer++) {
        const norm = (name, x) => normed(x, this.weights[`${layer}.${name}`], epsilon);
        const attended = this.attend(layer, norm("before attention", stream), cache[layer]);
        add(stream, norm("after attention", attended));
        const fed = this.feedForward(layer, norm("before feed-forward", stream));
        add(stream, norm("after feed-forward", fed));
        if (added?.layer === layer && added.scale) add(stream, added.vector, added.scale);
      }
      if (!wanted) return null;
      const last = normed(stream, this.weights.norm, epsilon);
      const logits = times(embedding, last, vocabulary).map((logit) => cap(logit, logit_cap));
      const highest = logits.reduce((a, b) => Math.max(a, b));
      const sum = Math.log(logits.reduce((a, b) => a + Math.exp(b - highest), 0)) + highest;
      return logits.map((logit) => logit - sum);
    }

    // By how much a vector is scaled at each position: the prompt's tokens but the first, the
    // read-out position, the tokens that are generated.
    scale(placement, decay, position, length) {
      const step = position - length + 1; // 0 at the read-out position
      if (placement === "every_position") return position > 0 ? 1 : 0;
      if (placement === "last_prompt_token") return step === 0 ? 1 : 0;
      if (placement === "generated_tokens") return step > 0 ? 1 : 0;
      return step >= 0 ? decay ** step : 0; // decaying
    }

    // Read a prompt, then either write an answer or, given one, say how likely its tokens are.
    // `steering` is null or {layer, vector, placement, decay}.
    run(prompt, steering, most, answer = null) {
      const cache = Array.from({ length: this.config.layers }, () => []);
      const ids = [];
      const likely = [];
      const pass = (token, position) =>
        this.read(
          token,
          cache,
          steering && {
            layer: steering.layer,
            vector: steering.vector,
            scale: this.scale(steering.placement, steering.decay, position, prompt.length),
          },
          position >= prompt.length - 1,
        );
      let next = null;
      prompt.forEach((token, position) => (next = pass(token, position)));
      while (ids.length < most) {
        const token = answer ? answer[ids.length] : next.indexOf(next.reduce((a, b) => Math.max(a, b)));
        if (token === undefined || (!answer && this.config.ends.includes(token))) break;
        likely.push(next[token]);
        ids.push(token);
        if (ids.length < most) next = pass(token, prompt.length + ids.length - 1);
      }
      return { ids, likely };
    }
  }

  return { Model, halves, singles, data: {} };
})();

if (typeof module !== "undefined") module.exports = SAIF;
