"""Generate text with a trained language model."""

from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import partial
from itertools import chain, islice
from unicodedata import category, name, normalize

from dl_lab.config.validation import typed
from dl_lab.core import rng
from dl_lab.core.errors import ConfigError, quoted
from dl_lab.core.schema import PositiveInt, Seed
from dl_lab.data.tokenizers import Tokenizer, one_line_end
from dl_lab.inference.trained import Trained
from dl_lab.training.generate import Sampling, beginning, continuation, draw

NAMES = {"'": "SINGLE QUOTATION MARK", '"': "DOUBLE QUOTATION MARK"}  # Unicode calls them APOSTROPHE, QUOTATION MARK
MOST = 20  # unknown characters that a message names


class Generation(Sampling):
    """`tokens`: how many follow the prompt."""

    prompt: str
    tokens: PositiveInt
    seed: Seed


def generate(
    trained: Trained,
    prompt: str = "",
    tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = 50,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """The text that follows the prompt, in parts of whole characters, as soon as each is known. An empty prompt is the
    beginning of a line. The model computes in float32 or float64, without autocast, so that the cache and the device
    change nothing but rounding.

    Raises:
        ConfigError: for a value that is not allowed, or a model that is not a language model.
    """
    given = {"prompt": prompt, "tokens": tokens, "seed": seed}
    options: Generation = typed(Generation, {**given, "temperature": temperature, "top_k": top_k, "top_p": top_p}, "")
    tokenizer, context = trained.preprocessing.tokenizer, trained.spec.input_shape[0]
    if tokenizer is None or not trained.spec.is_language:
        raise ConfigError(
            f"run={trained.folder} is a model of {trained.spec.task} ({trained.spec.kind}), which writes no text; "
            "allowed: a run of a language model, such as dataset=text"
        )
    refuse_unknown(options.prompt, tokenizer)
    known, lead = tokenizer.encode(options.prompt).tolist(), ""
    if not known:
        known, lead = tokenizer.encode(beginning(tokenizer)).tolist(), beginning(tokenizer).strip()
    if tokenizer.kind == "words" and not (options.prompt + lead)[-1:].isspace():
        lead += " "
    choose = partial(draw, sampling=options, random=rng.generator(options.seed, "sample"))
    written = islice(continuation(trained.model, context, known, choose), options.tokens)
    return chain([lead] if lead else [], tokenizer.stream(written))


def refuse_unknown(prompt: str, tokenizer: Tokenizer) -> None:
    """Raises: ConfigError naming the characters or words of the prompt that the model does not know."""
    unknown = tokenizer.unknown(one_line_end(prompt))
    if not unknown:
        return
    nearest = [max(tokenizer.vocabulary, key=partial(similarity, each)) for each in unknown[:MOST]]
    shown = prompt[:50] + "..." * (len(prompt) > 50)
    what = "characters" if tokenizer.kind == "characters" else "words"
    raise ConfigError(
        f"prompt={shown} has {what} that the model does not know: {quoted(unknown, MOST)} "
        f"(nearest: {quoted(nearest, MOST)}); allowed: {quoted(tokenizer.vocabulary, 150)}"
    )


def similarity(one: str, other: str) -> tuple[float, ...]:
    """How similar two characters or words are. Characters are compared without accents, without case, by kind and
    by name in Unicode; the first difference decides.
    """
    if len(one) > 1 or len(other) > 1:
        return (SequenceMatcher(None, one, other).ratio(),)
    (plain, kind, title), (plain_other, kind_other, title_other) = map(_described, (one, other))
    return (
        plain == plain_other,
        plain.casefold() == plain_other.casefold(),
        kind == kind_other,
        kind[0] == kind_other[0],
        SequenceMatcher(None, title, title_other).ratio(),
    )


def _described(sign: str) -> tuple[str, str, str]:
    """A character without accents, its category and its name in Unicode."""
    plain = " " if sign.isspace() and sign != "\n" else normalize("NFKD", sign)[0]
    return plain, category(plain), NAMES[plain] if plain in NAMES else name(plain, "")
