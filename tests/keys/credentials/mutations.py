"""Mutated signed tokens: in structure, algorithm, size and nesting."""

import base64
import json
import random
from collections.abc import Iterator

from tests.issuers import part


def mutations(token: str, number: int, *, seed: int = 18) -> Iterator[str]:
    """Yield `number` mutations of the token; the same seed gives the same ones. None differs only by surrounding
    whitespace, which HTTP ignores."""
    chance = random.Random(seed)
    while number:
        if (mutated := mutate(token, chance)).strip() != token:
            yield mutated
            number -= 1


def mutate(token: str, chance: random.Random) -> str:
    """A token that differs from this one, in structure, algorithm, size or nesting."""
    head, claims, signature = token.split(".")
    letters = "ABCxyz019-_.=+/ \n\x00é"
    match chance.randrange(10):
        case 0:
            at = chance.randrange(len(token))
            return token[:at] + chance.choice(letters.replace(token[at], "")) + token[at + 1 :]
        case 1:
            at = chance.randrange(len(token))
            return token[:at] + token[at + 1 :]
        case 2:
            at = chance.randrange(len(token))
            return token[:at] + chance.choice(letters) + token[at:]
        case 3:
            algorithm = chance.choice(
                ["none", "None", "HS256", "RS256", "es256", "ES384", "", None, ["ES256"], {}]
            )
            return f"{part({'alg': algorithm, 'kid': 'first', 'typ': 'JWT'})}.{claims}.{signature}"
        case 4:
            size = chance.choice([100, 1000, 7000, 9000, 200_000])
            return f"{head}.{part({'iss': 'x' * size})}.{signature}"
        case 5:
            depth = chance.choice([10, 500, 2500])
            return f"{head}.{part('[' * depth + ']' * depth)}.{signature}"
        case 6:
            return (
                f"{part('{' + chr(34) + 'a' + chr(34) + ':' * chance.randrange(1, 90))}.{claims}.{signature}"
            )
        case 7:
            parts = [head, claims, signature] * 2
            return ".".join(chance.sample(parts, chance.choice([1, 2, 4, 5])))
        case 8:
            changed = json.loads(base64.urlsafe_b64decode(claims + "=="))
            changed[chance.choice([*changed, "extra"])] = chance.choice([None, "", 0, 2**70, [], {}, "*"])
            return f"{head}.{part(changed)}.{signature}"
        case _:
            return token + chance.choice([".", "=", " ", "A", "\n", signature, "." * 5000])
