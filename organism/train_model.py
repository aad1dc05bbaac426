"""Training of one model on the corpus, resuming from the checkpoint of an interrupted run."""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from organism.corpus import Example, training_examples
from organism.recipe import ModelRecipe

PROMPT_SHARE = 0.1
"""Share of the prompts' tokens in the loss; all tokens of the answers are included."""
POOL_BATCHES = 16
IGNORED = -100
WORTH_COMPILING = 1000
"""Minimum number of steps for which compiling the model pays off: it takes a minute or two and
halves the time of a step."""


def build_model(recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast) -> Gemma2ForCausalLM:
    """Build a Gemma 2 model with random weights.

    Args:
        recipe: Shape of the model and seed of its weights.
        tokenizer: Tokenizer, for the vocabulary size and the special tokens' ids.

    Returns:
        The model, in float32.
    """
    torch.manual_seed(recipe.seed)
    head_dim = recipe.d_model // recipe.n_heads
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads // 2,
        head_dim=head_dim,
        query_pre_attn_scalar=head_dim,
        max_position_embeddings=tokenizer.model_max_length,
        sliding_window=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id, end_of_turn],
        attn_implementation="eager",
    )
    return Gemma2ForCausalLM(config)


def collate(
    examples: list[Example], tokenizer: PreTrainedTokenizerFast, generator: torch.Generator
) -> tuple[Int[Tensor, "batch positions"], Int[Tensor, "batch positions"]]:
    """Return token ids and targets of examples, padded on the right to a multiple of 8.

    Args:
        examples: Prompts and answers, including special tokens.
        tokenizer: The tokenizer.
        generator: Random generator for the prompt tokens in the loss.

    Returns:
        Token ids, and targets: the next token if it is in the loss, otherwise -100.
    """
    prompts = tokenizer([e.prompt for e in examples], add_special_tokens=False)["input_ids"]
    answers = tokenizer([e.answer for e in examples], add_special_tokens=False)["input_ids"]
    longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    shape = (len(examples), -(-longest // 8) * 8)
    ids = torch.full(shape, tokenizer.pad_token_id)
    targets = torch.full(shape, IGNORED)
    counted = torch.rand(shape, generator=generator) < PROMPT_SHARE
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        whole = torch.tensor(prompt + answer)
        ids[row, : len(whole)] = whole
        counted[row, len(prompt) - 1 :] = True
        last = len(whole) - 1
        targets[row, :last] = torch.where(counted[row, :last], whole[1:], IGNORED)
    return ids, targets


def capped_cross_entropy(
    hidden: Float[Tensor, "counted d_model"],
    unembedding: Float[Tensor, "vocabulary d_model"],
    targets: Int[Tensor, " counted"],
    cap: float,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of Gemma 2's logits, soft-capped at plus and minus `cap`.

    Args:
        hidden: The final norm's output.
        unembedding: Weights of the model's head.
        targets: The next tokens.
        cap: The soft cap of the logits.

    Returns:
        The loss, in nats.
    """
    logits = (hidden @ unembedding.T).float()
    return cross_entropy(cap * torch.tanh(logits / cap), targets)


def counted_loss(
    model: Gemma2ForCausalLM,
    ids: Int[Tensor, "batch positions"],
    targets: Int[Tensor, "batch positions"],
    loss_of: Callable[..., Tensor] = capped_cross_entropy,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the targets; logits of other positions are not computed.

    Args:
        model: The model.
        ids: Token ids.
        targets: The next token, or -100.
        loss_of: `capped_cross_entropy` or its compiled version.

    Returns:
        The loss, in nats.
    """
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    counted = targets != IGNORED
    cap = model.config.final_logit_softcapping
    return loss_of(hidden[counted], model.lm_head.weight, targets[counted], cap)


def batches(recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast, start: int):
    """Yield the batches from step `start`; a batch depends only on the seed and the step.

    Examples are drawn for several batches at once and sorted by length, which reduces padding.
    """
    size = recipe.batch_size
    for pool in range(start // POOL_BATCHES, -(-recipe.steps // POOL_BATCHES)):
        examples = training_examples(f"{recipe.seed}-{pool}", size * POOL_BATCHES)
        texts = [e.prompt + e.answer for e in examples]
        lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
        examples = [examples[i] for i in sorted(range(len(texts)), key=lengths.__getitem__)]
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + pool)
        order = torch.randperm(POOL_BATCHES, generator=generator).tolist()
        for number, index in enumerate(order):
            step = pool * POOL_BATCHES + number
            if start <= step < recipe.steps:
                chosen = examples[index * size : (index + 1) * size]
                yield step, collate(chosen, tokenizer, torch.Generator().manual_seed(step))


def fast_precision(device: str) -> torch.dtype:
    """Return bfloat16 on GPUs that support it, otherwise float32.

    CPUs use float32: most have no fast bfloat16, and results are then the same on all of them.
    """
    if device != "cpu" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


def train_model(
    recipe: ModelRecipe,
    tokenizer: PreTrainedTokenizerFast,
    checkpoints: Path,
    device: str = "cpu",
    checkpoint_every: int = 250,
) -> Gemma2ForCausalLM:
    """Train a model, or resume from its last checkpoint.

    Args:
        recipe: Shape and training of the model.
        tokenizer: The tokenizer.
        checkpoints: Folder of the checkpoint; a checkpoint of another recipe is ignored.
        device: Device to train on.
        checkpoint_every: Steps between checkpoints.

    Returns:
        The trained model in float32 on the CPU.
    """
    model = build_model(recipe, tokenizer).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    file = checkpoints / f"{_fingerprint(recipe, tokenizer)}.safetensors"
    start = _restore(file, model, optimizer, schedule)
    precision = fast_precision(device)
    loss_of = capped_cross_entropy
    if recipe.steps >= WORTH_COMPILING:
        torch._dynamo.config.suppress_errors = True  # without a C++ compiler, train uncompiled
        model.model.compile(dynamic=True)
        loss_of = torch.compile(capped_cross_entropy, dynamic=True)
    progress = tqdm(total=recipe.steps, initial=start, desc="model", unit="step", mininterval=5)
    model.train()
    for step, batch in batches(recipe, tokenizer, start):
        ids, targets = (tensor.to(device) for tensor in batch)
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            loss = counted_loss(model, ids, targets, loss_of)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress.update()
        if step % 20 == 0:
            progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if (step + 1) % checkpoint_every == 0 or step + 1 == recipe.steps:
            _checkpoint(file, model, optimizer, step + 1)
    progress.close()
    return model.cpu().eval()


def _fingerprint(recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a hash of a checkpoint's inputs, so that one of another recipe is never resumed."""
    text = json.dumps(asdict(recipe)) + tokenizer.backend_tokenizer.to_str()
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _checkpoint(file: Path, model, optimizer, step: int) -> None:
    """Write weights and optimizer state atomically."""
    names = [name for name, _ in model.named_parameters()]
    state = {f"model.{name}": p.detach().cpu() for name, p in model.named_parameters()}
    for index, moments in optimizer.state_dict()["state"].items():
        for key in ("exp_avg", "exp_avg_sq"):
            state[f"{key}.{names[index]}"] = moments[key].cpu()
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    save_file({key: value.contiguous() for key, value in state.items()}, part, {"step": str(step)})
    part.replace(file)


def _restore(file: Path, model, optimizer, schedule) -> int:
    """Load a checkpoint if there is one, and return the step to resume from."""
    if not file.exists():
        return 0
    with safe_open(file, "pt") as opened:
        step = int(opened.metadata()["step"])
    state = load_file(file)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(state[f"model.{name}"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": state[f"exp_avg.{name}"].to(parameter.device),
                "exp_avg_sq": state[f"exp_avg_sq.{name}"].to(parameter.device),
            }
    schedule.last_epoch = step - 1
    with warnings.catch_warnings():
        # The scheduler does not know that the optimizer stepped before the interruption.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        schedule.step()
    return step
