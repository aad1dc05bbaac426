"""The endpoint that a judge is asked through: its key, the official client, one request.

A key stays out of all that is kept or shown. The client's own errors hold it, in their request, so
none of them hangs on an error that is raised here.
"""

import os
from types import ModuleType
from typing import Any

from saif_helpers.judge.answers import Answer, read_answer
from saif_helpers.judge.rubric import Body


class JudgeError(RuntimeError):
    """The judge could not be asked, or did not answer as asked; what it did answer is kept."""


class BadAnswerError(JudgeError):
    """One output got no usable answer; the others are not held up by that."""


def open_client(base_url: str, key_name: str, max_retries: int, timeout: float) -> Any:
    """Return a client for an endpoint; it asks nothing yet.

    Args:
        base_url: The endpoint.
        key_name: Environment variable or Colab secret that holds its key.
        max_retries: How often a request is repeated after 429, 5xx or a timeout.
        timeout: Seconds that a request may take.

    Returns:
        The client, an ``openai.OpenAI``.

    Raises:
        ImportError: If the client's library is not installed.
        LookupError: If there is no key, or it cannot be one.
    """
    return _openai().OpenAI(
        api_key=api_key(key_name), base_url=base_url, max_retries=max_retries, timeout=timeout
    )


def api_key(name: str) -> str:
    """Return a key from the environment or, on Colab, from the notebook's secrets.

    Args:
        name: What it is called there.

    Returns:
        The key.

    Raises:
        LookupError: If there is none, or it cannot be one.
    """
    key, colab = os.environ.get(name, "").strip(), ""
    if not key:
        key, colab = _colab_secret(name)
    if not key:
        raise LookupError(
            f"the judge needs a key and {name} holds none{colab}; set the environment variable "
            f"{name}, or on Colab add a secret of that name and give the notebook access (a server "
            "of your own that asks for no key takes any word)"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise LookupError(
            f"what {name} holds cannot be a key: it has blanks or other than ASCII characters; "
            "copy the key again"
        )
    return key


def _colab_secret(name: str) -> tuple[str, str]:
    """Return a secret of Colab, or nothing and why."""
    try:
        from google.colab import userdata
    except ImportError:
        return "", ""
    try:
        return (userdata.get(name) or "").strip(), ""
    except Exception as error:  # its own kinds: no such secret, no access, no answer
        return "", f" (Colab's secrets: {type(error).__name__})"


def ask(client: Any, body: Body, attempts: int) -> tuple[Answer, str]:
    """Ask about one output until its answer has the form asked for.

    Args:
        client: The client.
        body: The request; each further attempt takes the next seed.
        attempts: Most answers to ask for.

    Returns:
        The answer, and the model that gave it in the endpoint's own words.

    Raises:
        BadAnswerError: If no answer had the form asked for.
        JudgeError: If the endpoint did not answer.
    """
    problem = ""
    for attempt in range(attempts):
        text, model = _complete(client, body | {"seed": body["seed"] + attempt})
        try:
            return read_answer(text), model
        except ValueError as error:
            problem = str(error)
    raise BadAnswerError(
        f"{body['model']} answered {attempts} times in another form than asked for, the last time: "
        f"{problem}"
    )


def _complete(client: Any, body: Body) -> tuple[str, str]:
    """Send a request and return the answer's text and model, neither with the key in it."""
    try:
        completion = client.chat.completions.create(**body)
    except _openai().OpenAIError as error:
        problem = _without_key(f"{type(error).__name__}: {error}", client)[:300]
    except ValueError:
        return "", ""  # said to be JSON, and is not
    else:
        text, model = _text_and_model(completion)
        return _without_key(text, client), _without_key(model, client)
    raise JudgeError(f"{client.base_url} gave no answer for {body['model']} ({problem})")


def _text_and_model(completion: Any) -> tuple[str, str]:
    """Read a completion; what is none, such as an error page, has no text."""
    try:
        message = completion.choices[0].message
        return str(message.content or message.refusal or ""), str(completion.model)
    except (AttributeError, IndexError, TypeError):
        return "", ""


def _without_key(text: str, client: Any) -> str:
    # A key of a few letters is a word for a server that asks for none, and no secret.
    return text.replace(client.api_key, "[key]") if len(client.api_key) >= 8 else text


def _openai() -> ModuleType:
    """Return the client's library."""
    try:
        import openai
    except ImportError as error:
        raise ImportError(
            f"the judge is asked through an optional library, and it is missing ({error}); "
            'install it with: pip install "saif-helpers[judge] @ '
            'git+https://github.com/saif-book/saif-book"'
        ) from error
    return openai
