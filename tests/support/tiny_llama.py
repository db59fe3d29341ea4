"""A tiny random Llama in GGUF form, for tests against a real llama.cpp server.

Nothing is trained and nothing is fetched. Random weights alone would never close a
JSON string, so a few channels of the residual stream are not random: a token marks
its class (vowel, digit, quote, ...) in a channel of its own, attention and
feed-forward never write there, and so ``output.weight`` can hold, for each class, the
wanted log-probability of every next token. The other channels are random: through
them the prompt and the position colour the answer.

The table leads from any point of a JSON document to its end. It does so for the most
likely token too, so that a temperature of 0 does not loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from gguf import GGUFWriter, TokenType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH: Final = 64
LAYERS: Final = 2
HEADS: Final = 4
INNER_WIDTH: Final = 128
# More than any slot gets: llama.cpp silently caps a slot at the trained context.
TRAINED_CONTEXT: Final = 32_768

# Two letters or bytes that become one token. The last two are UTF-8 sequences: single
# bytes above 127 would be invalid text, and tests want some that is not ASCII.
MERGES: Final = ("th", "in", "er", "é", "ü")
BOS, START, END = "<|begin|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Words are onset, vowel, coda ("bat", "thin"), which bounds their length.
CLASSES: Final[dict[str, tuple[str, ...]]] = {
    "onset": (*"bcdfghjklm", "th"),
    "vowel": (*"aeiou", "é", "ü"),
    "coda": (*"npqrstvwxyz", "in", "er"),
    "upper": tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "digit": tuple("0123456789"),
    "quote": ('"',),
    "escape": ("\\",),
    "space": (" ",),
    "newline": ("\n",),
    "comma": (",",),
    "colon": (":",),
    "open": ("{", "["),
    "brace": ("}",),
    "bracket": ("]",),
    "minus": ("-",),
    "dot": (".",),
    "end": (END,),
    # Everything else, above all the prompt's punctuation and accented letters.
    "other": (),
}

# What follows what, in shares. Several rows serve two places: after a quote either a
# string begins or a value has ended. Tiny shares are for the second place, where the
# grammar forbids the others; they matter relative to each other only. Shares under 5 %
# of a row's largest are cut off by llama.cpp's default min_p where the grammar allows
# both.
FOLLOWERS: Final[dict[str, dict[str, float]]] = {
    # The 0.01 are for the branches of an enum, such as neg-ative and neu-tral.
    "onset": {"vowel": 0.97, "onset": 0.01, "coda": 0.01},
    "vowel": {"coda": 0.88, "onset": 0.1, "vowel": 0.01},
    "coda": {
        "end": 0.4,
        "quote": 0.3,
        "space": 0.25,
        "escape": 0.03,
        "onset": 0.01,
        "vowel": 0.01,
        "coda": 0.01,
    },
    "upper": {"vowel": 0.5, "coda": 0.3, "onset": 0.1, "upper": 0.2, "quote": 0.2},
    "digit": {
        "comma": 0.2,
        "brace": 0.4,
        "bracket": 0.4,
        "quote": 0.3,
        "end": 0.2,
        "digit": 0.5,
        "dot": 0.06,
    },
    "quote": {
        "onset": 0.5,
        "vowel": 0.2,
        "coda": 0.3,
        "upper": 0.2,
        "bracket": 3e-4,
        "brace": 3e-4,
        "comma": 1e-4,
        "colon": 1e-4,
        "end": 1e-4,
    },
    "escape": {"quote": 0.99},
    "space": {"onset": 0.6, "coda": 0.2, "vowel": 0.1},
    "newline": {"onset": 0.6, "coda": 0.2, "upper": 0.3},
    "comma": {"quote": 0.4, "digit": 0.3, "open": 0.2, "onset": 0.2, "coda": 0.2},
    "colon": {
        "quote": 0.3,
        "digit": 0.3,
        "open": 0.2,
        "onset": 0.3,
        "coda": 0.3,
        "minus": 0.04,
    },
    "open": {
        "quote": 0.3,
        "digit": 0.3,
        "open": 0.2,
        "onset": 0.2,
        "coda": 0.2,
        "bracket": 0.015,
        "brace": 0.015,
    },
    "brace": {"end": 0.9, "brace": 0.6, "bracket": 0.6, "comma": 0.2},
    "bracket": {"end": 0.9, "brace": 0.6, "bracket": 0.6, "comma": 0.2},
    "minus": {"digit": 0.99},
    "dot": {"digit": 0.8, "end": 0.2},
    "end": {"newline": 0.99},
    "other": {"onset": 0.6, "coda": 0.2, "space": 0.2},
}
# Share of a class that a row does not name, so that a grammar can still force it, and
# of the tokens in "other", among them the bytes that alone are no valid UTF-8.
RARE: Final = 1e-6
ALMOST_NEVER: Final = 1e-9

MARK: Final = 4.0  # a token's value in the channel of its class
NOISE: Final = 0.3  # standard deviation of a token's random channels ...
NOISE_OUT: Final = 0.4  # ... and, as measured, behind the last layer
MARKED: Final = len(CLASSES)  # the first channels are the marks, the rest is random
# How far the random channels move a logit, as the scale of their output weights. Little
# for what closes or continues a document: chance must not undo the table.
FREE, BOUND = 0.12, 0.03
FREE_CLASSES: Final = ("onset", "vowel", "coda", "upper", "digit")


class Vocabulary(NamedTuple):
    """Tokens in GPT-2's byte alphabet, their kinds, and the class of each."""

    tokens: list[str]
    kinds: list[TokenType]
    classes: list[str]


def write_model(path: Path, seed: int = 0) -> None:
    """Write the model to *path*; the same seed gives the same bytes."""
    vocabulary = build_vocabulary()
    writer = GGUFWriter(path, "llama")
    add_shape(writer)
    add_tokenizer(writer, vocabulary)
    for name, tensor in tensors(vocabulary, np.random.default_rng(seed)):
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_alphabet() -> list[str]:
    """Return GPT-2's printable stand-in for each byte, in the order of the bytes."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    # The bytes that print badly take the code points from 256 on, one after the other.
    stand_ins = iter(range(0x100, 0x200))
    return [chr(b if b in printable else next(stand_ins)) for b in range(256)]


def build_vocabulary() -> Vocabulary:
    """List the 256 bytes, the merges and the special tokens."""
    alphabet = byte_alphabet()
    merged = ["".join(alphabet[b] for b in pair.encode()) for pair in MERGES]
    special = [BOS, START, END]
    texts = [*map(chr, range(128)), *[""] * 128, *MERGES, *special]
    class_of = {text: name for name, members in CLASSES.items() for text in members}
    return Vocabulary(
        tokens=[*alphabet, *merged, *special],
        kinds=[TokenType.NORMAL] * (256 + len(merged)) + [TokenType.CONTROL] * 3,
        classes=[class_of.get(text, "other") for text in texts],
    )


def add_shape(writer: GGUFWriter) -> None:
    """Add the numbers that tell llama.cpp how to read the tensors."""
    writer.add_name("tiny-llama")
    writer.add_context_length(TRAINED_CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER_WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def add_tokenizer(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    """Add the vocabulary, the merges, the special tokens and the chat template."""
    alphabet = byte_alphabet()
    merges = [" ".join(alphabet[b] for b in pair.encode()) for pair in MERGES]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(vocabulary.tokens.index(BOS))
    writer.add_eos_token_id(vocabulary.tokens.index(END))
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)


def tensors(
    vocabulary: Vocabulary, random: np.random.Generator
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Yield every tensor with its name; shapes are (outputs, inputs)."""

    def matrix(outputs: int, inputs: int, scale: float) -> NDArray[np.float64]:
        return random.normal(0, scale, (outputs, inputs))

    def into_stream(inputs: int) -> NDArray[np.float64]:
        weights = matrix(WIDTH, inputs, 0.03)
        weights[:MARKED] = 0  # a layer must not change the marks
        return weights

    # Layers read the random channels only: the marks would drown them.
    reads = np.where(np.arange(WIDTH) < MARKED, 0.0, 2.0)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", reads
        # Large scores, so that a head looks at few tokens and long prompts that
        # differ in a word do not average out.
        yield f"{block}.attn_q.weight", matrix(WIDTH, WIDTH, 0.3)
        yield f"{block}.attn_k.weight", matrix(WIDTH, WIDTH, 0.3)
        yield f"{block}.attn_v.weight", matrix(WIDTH, WIDTH, 0.1)
        yield f"{block}.attn_output.weight", into_stream(WIDTH)
        yield f"{block}.ffn_norm.weight", reads
        yield f"{block}.ffn_gate.weight", matrix(INNER_WIDTH, WIDTH, 0.1)
        yield f"{block}.ffn_up.weight", matrix(INNER_WIDTH, WIDTH, 0.1)
        yield f"{block}.ffn_down.weight", into_stream(INNER_WIDTH)
    yield "output_norm.weight", np.ones(WIDTH)
    embedding = matrix(len(vocabulary.tokens), WIDTH, NOISE)
    embedding[:, :MARKED] = MARK * one_hot(vocabulary.classes)
    yield "token_embd.weight", embedding
    free = [name in FREE_CLASSES for name in vocabulary.classes]
    output = matrix(len(free), WIDTH, 1) * np.where(free, FREE, BOUND)[:, np.newaxis]
    output[:, :MARKED] = log_shares(vocabulary.classes) / mark_after_norm()
    yield "output.weight", output


def one_hot(classes: list[str]) -> NDArray[np.float64]:
    """Return a row per token with a one in the channel of its class."""
    names = list(CLASSES)
    return np.eye(MARKED)[[names.index(name) for name in classes]]


def mark_after_norm() -> float:
    """Return a mark's value behind the last norm, which divides by the stream's RMS."""
    noise = (WIDTH - MARKED) * NOISE_OUT**2
    return MARK / float(np.sqrt((MARK**2 + noise) / WIDTH))


def log_shares(classes: list[str]) -> NDArray[np.float64]:
    """Return, for each token, its log-probability after a token of each class."""
    shares = np.full((len(classes), MARKED), ALMOST_NEVER)
    for column, row in enumerate(FOLLOWERS[name] for name in CLASSES):
        for token, name in enumerate(classes):
            if name != "other":
                shares[token, column] = row.get(name, RARE) / classes.count(name)
    logs: NDArray[np.float64] = np.log(shares)
    return logs
