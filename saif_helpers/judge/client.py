"""Client of a judge's endpoint: API key, OpenAI's client, a single request.

The API key never appears in files or messages. The client's errors contain it in their request, so
they are never chained to errors that are raised here.
"""

import os
from types import ModuleType
from typing import Any

from saif_helpers.judge.answers import Answer, read_answer
from saif_helpers.judge.rubric import Body


class JudgeError(RuntimeError):
    """Raised if requests fail or get no valid answer; answers received before are cached."""


class BadAnswerError(JudgeError):
    """Raised if one output got no valid answer; other requests continue."""


def open_client(base_url: str, key_name: str, max_retries: int, timeout: float) -> Any:
    """Return a client for an endpoint, without sending a request.

    Args:
        base_url: The endpoint.
        key_name: Environment variable or Colab secret with its API key.
        max_retries: Number of retries after 429, 5xx or a timeout.
        timeout: Timeout of a request in seconds.

    Returns:
        The client, an ``openai.OpenAI``.

    Raises:
        ImportError: If the client's library is not installed.
        LookupError: If there is no key, or it is malformed.
    """
    return _openai().OpenAI(
        api_key=api_key(key_name), base_url=base_url, max_retries=max_retries, timeout=timeout
    )


def api_key(name: str) -> str:
    """Return an API key from the environment or, on Colab, from the notebook's secrets.

    Args:
        name: Its name there.

    Returns:
        The key.

    Raises:
        LookupError: If there is none, or it is malformed.
    """
    key, colab = os.environ.get(name, "").strip(), ""
    if not key:
        key, colab = _colab_secret(name)
    if not key:
        raise LookupError(
            f"the judge needs a key, but {name} is not set{colab}; set the environment variable "
            f"{name}, or on Colab add a secret of that name and give the notebook access (a server "
            "without keys accepts any value)"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise LookupError(
            f"the value of {name} is not a key: it contains spaces or non-ASCII characters; copy "
            "the key again"
        )
    return key


def _colab_secret(name: str) -> tuple[str, str]:
    """Return a secret of Colab, or an empty string and the reason."""
    try:
        from google.colab import userdata
    except ImportError:
        return "", ""
    try:
        return (userdata.get(name) or "").strip(), ""
    except Exception as error:  # Colab's own: no such secret, no access, timeout
        return "", f" (Colab's secrets: {type(error).__name__})"


def ask(client: Any, body: Body, attempts: int) -> tuple[Answer, str]:
    """Request the grades of one output until the answer is valid.

    Args:
        client: The client.
        body: The request; each further attempt uses the next seed.
        attempts: Maximum number of attempts.

    Returns:
        The answer, and the model that gave it, as reported by the endpoint.

    Raises:
        BadAnswerError: If no answer was valid.
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
        f"{body['model']} gave no valid answer in {attempts} attempts; the last one: {problem}"
    )


def _complete(client: Any, body: Body) -> tuple[str, str]:
    """Send a request, and return text and model of the answer with the key redacted."""
    try:
        completion = client.chat.completions.create(**body)
    except _openai().OpenAIError as error:
        problem = _without_key(f"{type(error).__name__}: {error}", client)[:300]
    except ValueError:
        return "", ""  # labelled as JSON, but is not
    else:
        text, model = _text_and_model(completion)
        return _without_key(text, client), _without_key(model, client)
    raise JudgeError(f"{client.base_url} gave no answer for {body['model']} ({problem})")


def _text_and_model(completion: Any) -> tuple[str, str]:
    """Return text and model of a completion; empty for anything else, such as an error page."""
    try:
        message = completion.choices[0].message
        return str(message.content or message.refusal or ""), str(completion.model)
    except (AttributeError, IndexError, TypeError):
        return "", ""


def _without_key(text: str, client: Any) -> str:
    # A key of a few letters is a placeholder for a server without keys, not a secret.
    return text.replace(client.api_key, "[key]") if len(client.api_key) >= 8 else text


def _openai() -> ModuleType:
    """Import the client's library."""
    try:
        import openai
    except ImportError as error:
        raise ImportError(
            f"the judge needs an optional library, which is missing ({error}); "
            'install it with: pip install "saif-helpers[judge] @ '
            'git+https://github.com/saif-book/saif-book"'
        ) from error
    return openai
