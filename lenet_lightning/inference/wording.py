"""Say what is noticed of a picture, or why it is refused, to the user of the page, who has no command line."""

import re

_NOTICES = (
    (r"blank", "Nothing that looks like a digit is in it"),
    (r"(\d+) digits\?.*", r"There may be \1 digits in it"),
)

# what helps only who started the page
_OPTION = re.compile(r"[,:]? *\(?--\w.*")
_PACKAGE = re.compile(r", which needs [\w-]+: pip install '[^']*', or ")

# before the reason in an error of `picture.frame`, whose file has no name here
_NAMELESS = "the picture: "


def notice(said: str | None) -> str | None:
    """Return the notice of an answer, its parts apart by "; ", as sentences without options of the command line."""
    sentences = []
    for part in said.split("; ") if said else ():
        known = (re.sub(pattern, words, part) for pattern, words in _NOTICES if re.fullmatch(pattern, part))
        sentences.append(_sentence(next(known, _OPTION.sub("", part))))
    return " ".join(filter(None, sentences)) or None


def refusal(error: str) -> str:
    """Return the error of `picture.frame`, or of the network, as a sentence; no path of this machine is in it."""
    if not error.startswith(_NAMELESS):
        return "The network has no answer to this picture; try another one."
    return _sentence(f"the file {_PACKAGE.sub('; ', error.removeprefix(_NAMELESS))}")


def _sentence(part: str) -> str:
    return part and f"{part[0].upper()}{part[1:]}{'' if part[-1] in '.?!' else '.'}"
