"""The installed command: `sapiens-pl predict ...` is `python -m sapiens_pl.predict ...`, and so on for each command.

Each command runs as its module, in this process: Lightning starts a run's further ranks with the same command line.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches

COMMANDS = {
    "predict": "poses of images, videos and shards",
    "make": "products of a finished run, without its network",
    "report": "an HTML page that shows a run, and its worst people",
    "evaluate": "accuracy of a run against a COCO annotation file",
    "collect": "how far the shards of a run are",
    "convert": "one clean weights file out of any published kind",
    "models": "the published models, and which weights are here",
    "doctor": "whether this machine has what a run needs",
}
_CONFIGURED = ("predict", "evaluate")
"""Commands whose settings Hydra completes."""
_BAD_USE = 2


def usage() -> str:
    lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: sapiens-pl COMMAND ...",
            "",
            *lines,
            "",
            "sapiens-pl COMMAND --help explains a command; sapiens-pl --version says which version this is.",
            'Tab completion: eval "$(sapiens-pl completion bash)", or zsh;',
            "in fish: sapiens-pl completion fish | source",
        ]
    )


def main() -> int:
    """Exit codes: those of the command; 2 if there is no such command."""
    name, rest = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if name in ("", "-h", "--help", "help"):
        print(usage())
        return 0 if name else _BAD_USE
    if name in ("-V", "--version"):
        from sapiens_pl import __version__

        print(f"sapiens_pl {__version__}")
        return 0
    if name in ("completion", "-sc"):
        return _complete(name, rest)
    if name not in COMMANDS:
        alike = get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(COMMANDS)}."
        if "=" in name:
            meant = f"name the command first: sapiens-pl predict {name}"
        print(f"error: {ascii(name)[1:-1]} is not a command; {meant}", file=sys.stderr)
        return _BAD_USE
    return _become(name, rest)


def _become(command: str, arguments: list[str]) -> int:
    os.execv(sys.executable, [sys.executable, "-m", f"sapiens_pl.{command}", *arguments])


def _complete(name: str, rest: list[str]) -> int:
    if name == "completion":
        return _install(rest[0] if rest else "")
    line = os.environ.get("COMP_LINE", "")
    words = line.split()[1:]
    if len(words) > 1 or (words and line[-1:].isspace()):
        if words[0] in _CONFIGURED:  # to Hydra, the command's words are those of a program without a name between
            os.environ["COMP_LINE"] = line.replace(f" {words[0]}", "", 1)
            _complete_settings(words[0], [name, *rest])
        return 0
    print(" ".join(each for each in COMMANDS if each.startswith(words[0] if words else "")))
    return 0


def _complete_settings(command: str, arguments: list[str]) -> None:
    """In this process: a Tab waits neither for another Python nor for what a run needs."""
    import hydra

    from sapiens_pl.core.configs import config_folder

    sys.argv[1:] = arguments

    @hydra.main(version_base="1.3", config_path=config_folder(), config_name=command)
    def never_called(cfg: object) -> None:
        raise AssertionError

    never_called()


def _install(shell: str) -> int:
    if shell not in ("bash", "zsh", "fish"):
        print("error: say for which shell: sapiens-pl completion bash, zsh or fish", file=sys.stderr)
        return _BAD_USE
    if shell == "fish":
        print(_FISH)
        return 0
    if shell == "zsh":  # which takes bash's way of completing
        print("autoload -Uz compinit bashcompinit && compinit -u && bashcompinit")
    print(_BASH)
    return 0


# Hydra's own scripts split words at `=`, which zsh cannot be told not to do, and never complete files.
_BASH = """_sapiens_pl()
{
    local word="${COMP_LINE:0:$COMP_POINT}"
    word="${word##* }"
    local choices
    choices=$(COMP_LINE="${COMP_LINE:0:$COMP_POINT}" sapiens-pl -sc query=bash 2> /dev/null)
    local cut="${word%"${word##*[=:]}"}"
    [ -n "$ZSH_VERSION" ] && cut=""
    COMPREPLY=()
    local choice
    for choice in $(echo $choices); do
        case "$choice" in "$word"*) COMPREPLY+=("${choice#"$cut"}");; esac
    done
}
complete -o nospace -o default -F _sapiens_pl sapiens-pl"""
_FISH = """function __sapiens_pl
    set -lx COMP_LINE (commandline -cp)
    set -l choices (sapiens-pl -sc query=fish 2> /dev/null | string split -n ' ')
    if set -q choices[1]
        printf '%s\\n' $choices
    else
        set -l setting (string match -r '^.*=' -- (commandline -ct))
        __fish_complete_path (string replace -r '^.*=' '' -- (commandline -ct)) | string replace -r '^' -- "$setting"
    end
end
complete -c sapiens-pl -f -a '(__sapiens_pl)'"""

if __name__ == "__main__":
    sys.exit(main())
