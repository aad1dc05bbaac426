import pytest
import tiny
import torch
from refusals import refused

from saif_helpers.analysis.side_effects import content_kept, output_loss

OUTPUTS = ["Le chat dort.", "x", "", "A longer output, of many tokens.", "ça"]


def loss_alone(model, prompt, output):
    """Compute the loss of one output in a plain forward pass without padding."""
    asked = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    written = model.tokenizer(output, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model.lm._module(input_ids=torch.tensor([asked + written])).logits[0]
    return torch.nn.functional.cross_entropy(
        logits[len(asked) - 1 : -1], torch.tensor(written)
    ).item()


@pytest.mark.parametrize("kind", ["gemma2", "llama"])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_loss_is_that_of_each_output_alone(kind, batch_size):
    model = tiny.wrapped(kind)
    losses = output_loss(model, tiny.PROMPTS, OUTPUTS, batch_size)
    for index, (prompt, output) in enumerate(zip(tiny.PROMPTS, OUTPUTS, strict=True)):
        if output:
            assert losses[index].item() == pytest.approx(
                loss_alone(model, prompt, output), abs=1e-4
            )
        else:
            assert losses[index].isnan()


def test_outputs_without_a_prompt_are_refused():
    with refused("outputs"):
        output_loss(tiny.wrapped("gemma2"), ["<bos>a"], ["b", "c"])
    with refused("outputs"):
        output_loss(tiny.wrapped("gemma2"), [], [])
    for unrendered in ("", "a"):  # whose loss would be of another text than all else
        with refused("prompts"):
            output_loss(tiny.wrapped("gemma2"), [unrendered], ["a"])


def test_content_kept_goes_from_nothing_to_all():
    reference = "Le vieux boulanger vend du pain."
    outputs = [reference, "Le vieux boulanger vend des fleurs.", "The old baker sells bread.", ""]
    kept = content_kept(outputs, [reference] * 4).tolist()
    assert kept[0] == pytest.approx(1.0)
    assert kept[0] > kept[1] > kept[2] > kept[3] == 0
    with refused("references"):
        content_kept(outputs, [reference])
